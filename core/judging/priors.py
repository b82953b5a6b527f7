"""Hand-set expectations for dimensions that the library has no examples of, so that a first run has an answer.

The rubric counts errors per 100 characters (fluency) or per 1,000 (normativity). Rules see only some errors, so the
expected error rate is a base rate plus a share of what the rules saw, and the truth is spread around it log-normally.
The bases are set so that an average text gets the middle label; the spreads so that all labels stay possible.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from core.judging.profile import Profile

_FLUENCY_BANDS = (0.5, 1.0, 2.0, 2.5)
_NORMATIVITY_BANDS = (1.0, 2.0, 4.0, 5.0)
_SCALE = (1, 2, 3, 4, 5)


def has_prior(dimension_id: str, labels: tuple[int, ...]) -> bool:
    """Return whether there is a hand-set expectation for a dimension with these labels."""
    return dimension_id in ("fluency", "normativity") and tuple(sorted(labels)) == _SCALE


def prior_answer(dimension_id: str, text: Profile) -> tuple[dict[int, float], float]:
    """Return the probability of each label and the expected errors (per 100 or per 1,000 characters) of a text."""
    if dimension_id == "fluency":
        expected = 0.95 + 1.1 * min(text.density, 4.0)
        return _banded(expected, 0.65, _FLUENCY_BANDS), expected
    expected = 2.8 * math.exp(_normativity_signs(text))
    return _banded(expected, 0.85, _NORMATIVITY_BANDS), expected


def _normativity_signs(text: Profile) -> float:
    """Return the log of how many times the usual error rate is to be expected."""
    signs = 0.8 * min(text.density, 2.0) - 0.1
    if text.fit.present:
        signs += 1.0 * (0.4 - text.fit.coverage) + 0.3 * (1.0 - text.fit.numbers)
    signs += 1.0 * text.repeated_lines + (0.25 if text.ends_open else 0.0)
    if text.characters < 200:
        signs += 0.3
    return max(-1.2, min(1.2, signs))


def _banded(expected: float, spread: float, bands: tuple[float, ...]) -> dict[int, float]:
    """Return the mass of a log-normal around `expected` in each band; fewer errors are a higher label."""
    below = [_normal(math.log(edge / expected) / spread) for edge in bands]
    edges = [0.0, *below, 1.0]
    masses: Mapping[int, float] = {5 - place: edges[place + 1] - edges[place] for place in range(5)}
    return {label: masses[label] for label in _SCALE}


def _normal(value: float) -> float:
    return 0.5 * (1.0 + math.erf(value / math.sqrt(2.0)))
