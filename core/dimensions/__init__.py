"""Dimensions as files: what is judged, on which scale, by which rubric and prompt."""

from core.dimensions.loader import load_dimensions
from core.dimensions.prompts import PromptBuilder

__all__ = ["PromptBuilder", "load_dimensions"]
