"""Ordinal heads: grading by what a model sees of a text, trained on labels (docs/FAULTS.md)."""
