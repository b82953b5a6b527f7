"""The database fixtures."""

from tests.db.fixtures import empty_url, postgres_folder, store, url

__all__ = ["empty_url", "postgres_folder", "store", "url"]
