"""The `ordinal_head` family: a base model that reads a whole text once, grades it and marks its suspected faults."""

from core.judging.head.judge import make_head_judge

__all__ = ["make_head_judge"]
