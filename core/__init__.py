"""The domain of Pingpan: types, errors, settings and ports; no database and no web."""
