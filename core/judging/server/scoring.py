"""From a position's tokens to a distribution over the labels of a scale."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.judging.server.wire import Position

# A label that is not among the tokens is at most as likely as the least of them; it is given e times less than that.
FLOOR_STEP = 1.0
LEAST = 1e-9
# How vocabularies write blanks: byte-level BPE, SentencePiece, byte tokens.
_BLANKS = (("Ġ", " "), ("▁", " "), ("Ċ", "\n"), ("ĉ", "\t"), ("č", "\r"), ("<0x0A>", "\n"), ("<0x20>", " "))


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Log-probability of each label, in the order of the scale; `floored` are labels that the server did not name.

    `mass` is the probability of all named labels together, over what the server normalized by.
    """

    log_probabilities: tuple[float, ...]
    floored: tuple[int, ...]
    mass: float

    def probabilities(self, labels: Sequence[int]) -> dict[int, float]:
        """Return the distribution among the labels."""
        highest = max(self.log_probabilities)
        weights = [math.exp(value - highest) for value in self.log_probabilities]
        total = sum(weights)
        return {label: weight / total for label, weight in zip(labels, weights, strict=True)}

    def raw(self, labels: Sequence[int]) -> str:
        """Return what the server said of the labels, as JSON; `floored` and `mass` only where they say something."""
        said: dict[str, object] = {
            "logprobs": {str(label): round(value, 4) for label, value in zip(labels, self.log_probabilities, strict=True)}
        }
        if self.floored:
            said["floored"] = list(self.floored)
        if self.mass < 0.5:
            said["mass"] = round(self.mass, 6)
        return json.dumps(said)


def spelled(token: str) -> str:
    """Return a token as text, blanks as the vocabulary writes them made blanks again."""
    for written, blank in _BLANKS:
        token = token.replace(written, blank)
    return token


def is_blank(token: str) -> bool:
    """Return whether a token writes nothing but blanks and line ends."""
    return not spelled(token).strip()


def score_labels(position: Position, spellings: Mapping[int, str], *, exact: bool = False, whole: bool = True) -> LabelScores | None:
    """Return the labels' log-probabilities, None when not one of them is among the tokens.

    `spellings` gives each label's token, in the order of the scale. Unless `exact`, tokens that write it with blanks
    around it count too, and add up. `whole` says that the server normalized over its vocabulary: labels that it did
    not name then share at most what the named tokens leave.
    """
    found = {label: _log_sum([value for token, value in position.tokens.items() if token == wanted or (not exact and _means(token, wanted))])
             for label, wanted in spellings.items()}  # fmt: skip
    named = {label: value for label, value in found.items() if value is not None}
    if not named:
        return None
    floor = min(position.tokens.values()) - FLOOR_STEP
    if whole and len(named) < len(found):
        left = 1.0 - sum(_chance(value) for value in position.tokens.values())
        floor = min(floor, math.log(max(left, LEAST) / (len(found) - len(named))))
    scores = tuple(named.get(label, floor) for label in spellings)
    mass = min(1.0, sum(_chance(value) for value in named.values()))
    return LabelScores(scores, tuple(label for label in spellings if label not in named), mass)


def _means(token: str, wanted: str) -> bool:
    return spelled(token).strip() == wanted


def _chance(value: float) -> float:
    """Return the probability of a log-probability; what is above 0 is none (some servers give plain logits), and counts as certain."""
    return math.exp(min(value, 0.0))


def _log_sum(values: Sequence[float]) -> float | None:
    if not values:
        return None
    highest = max(values)
    return highest + math.log(sum(math.exp(value - highest) for value in values))
