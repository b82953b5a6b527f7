"""SQLAlchemy rows, migrations and the store that implements core's ports."""
