"""Which embedders there are, and how a setting names them."""

from __future__ import annotations

from core.ports import Embedder
from core.retrieval.ngram import NgramEmbedder
from core.retrieval.sentence import SentenceEmbedder

NGRAM = "ngram"


def make_embedder(name: str) -> Embedder:
    """Return the embedder that PINGPAN_EMBEDDER=`name` means.

    "ngram" is the embedded one, which needs no download; anything else is a folder or hub name of a
    sentence-transformers model, loaded on first use. Raises RetrievalError when `name` can be neither.
    """
    if name.strip() == NGRAM:
        return NgramEmbedder()
    return SentenceEmbedder(name.strip())
