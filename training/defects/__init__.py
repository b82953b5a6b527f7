"""Defects against a prompt, put into good pairs of prompt and text (docs/FAULTS.md)."""
