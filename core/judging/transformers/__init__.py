"""Judges that run in this process: a causal language model's distribution over the labels, from one forward pass a row."""

from core.judging.transformers.judge import TransformersJudge, make_transformers_judge
from core.judging.transformers.options import TransformersOptions

__all__ = ["TransformersJudge", "TransformersOptions", "make_transformers_judge"]
