"""`python -m db.migrations`: writes fresh.sql anew, which a new migration needs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from db.engine import make_engine
from db.migrate import FRESH, migrate_to, schema

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(f"sqlite:///{Path(folder) / 'fresh.db'}")
        migrate_to(engine, "head")
        FRESH.write_text(schema(engine), encoding="utf-8")
        engine.dispose()
