"""Reads a SentencePiece BPE model into a `tokenizers` tokenizer with byte fallback, as InternLM2's own fast tokenizer is."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import JudgeError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPACE = "▁"


class PieceType(IntEnum):
    """The kinds of pieces in a SentencePiece model."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


def read_sentencepiece(path: Path, added: Mapping[int, str]) -> Tokenizer:
    """Return the tokenizer of the model file; `added` renames ids to special tokens, as added_tokens_decoder does.

    Raises JudgeError when the file is no BPE model or protobuf is missing.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, normalizers
    from tokenizers.models import BPE

    model = _parse(path)
    if model.trainer_spec.model_type != 2:
        raise JudgeError(
            f"{path} is no BPE model; only BPE SentencePiece models are converted. Put a tokenizer.json beside it.",
            zh=f"{path} 不是 BPE 模型；只能转换 BPE 的 SentencePiece 模型，请在其旁放入 tokenizer.json。",
        )
    pieces = [added.get(number, piece.piece) for number, piece in enumerate(model.pieces)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    vocabulary.update({text: number for number, text in added.items() if number >= len(pieces)})
    ordinary = [piece for number, piece in enumerate(model.pieces) if piece.type == PieceType.NORMAL and number not in added]
    scores = {piece.piece: piece.score for piece in ordinary}
    unknown = next(pieces[number] for number, piece in enumerate(model.pieces) if piece.type == PieceType.UNKNOWN)
    tokenizer = Tokenizer(BPE(vocabulary, _merges(scores, vocabulary), unk_token=unknown, fuse_unk=True, byte_fallback=True))
    steps: list[Any] = []
    if model.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap))
    if model.normalizer_spec.add_dummy_prefix:
        steps.append(normalizers.Prepend(SPACE))
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    trimming = [decoders.Strip(content=" ", left=1)] if model.normalizer_spec.add_dummy_prefix else []
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *trimming])
    kinds = (PieceType.CONTROL, PieceType.USER_DEFINED)
    special = {number for number, piece in enumerate(model.pieces) if piece.type in kinds} | set(added)
    names = {number: text for text, number in vocabulary.items()}
    tokenizer.add_special_tokens([AddedToken(names[number], normalized=False, special=True) for number in sorted(special)])
    return tokenizer


def _merges(scores: Mapping[str, float], vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return every way to make a piece of two others, best piece first: SentencePiece always joins the best-scored pair."""
    merges: list[tuple[float, int, int, str, str]] = []
    for piece, score in scores.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocabulary and right in vocabulary:
                merges.append((-score, len(left), len(right), left, right))
    return [(left, right) for *_, left, right in sorted(merges, key=lambda merge: merge[:3])]


def _parse(path: Path) -> Any:
    from transformers.convert_slow_tokenizer import import_protobuf

    try:
        proto = import_protobuf().ModelProto()
    except ImportError as error:
        raise JudgeError(
            f"Reading {path} needs the package protobuf; install it: ./run.sh setup models",
            zh=f"读取 {path} 需要 protobuf，请运行 ./run.sh setup models。",
        ) from error
    proto.ParseFromString(path.read_bytes())
    return proto
