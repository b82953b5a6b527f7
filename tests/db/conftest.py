"""The database fixtures."""

from tests.db.fixtures import empty_url, file_store, postgres_folder, store, url

__all__ = ["empty_url", "file_store", "postgres_folder", "store", "url"]
