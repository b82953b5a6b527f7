"""Reads 选择题 rows exactly: which option a model's reply picks, and whether that is the correct one (docs/CHOICE.md)."""

from core.judging.choice.model import ChoiceKind, ChoiceReading
from core.judging.choice.reader import read_choice

__all__ = ["ChoiceKind", "ChoiceReading", "read_choice"]
