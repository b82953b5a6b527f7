"""Command lines that start a judge's model server (lmdeploy, vLLM), checked against what each engine can serve."""

from core.judging.serving.commands import Launch, ServedModel, build_launch, read_served_model
from core.judging.serving.options import Engine, KvCache, ServeOptions, WeightFormat

__all__ = ["Engine", "KvCache", "Launch", "ServeOptions", "ServedModel", "WeightFormat", "build_launch", "read_served_model"]
