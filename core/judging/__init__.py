"""Judges by family, and the aggregators that make a verdict of their answers."""
