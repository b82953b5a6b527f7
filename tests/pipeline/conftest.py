"""The database fixtures."""

from tests.db.fixtures import postgres_folder, store, url

__all__ = ["postgres_folder", "store", "url"]
