"""Embedders, the Chroma index, near-duplicate families and the selection of examples (see docs/RETRIEVAL.md)."""
