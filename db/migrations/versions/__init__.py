"""Alembic's revisions; db.migrate runs them."""
