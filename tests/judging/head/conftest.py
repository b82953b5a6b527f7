"""One head judge, trained on the made-up language, for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.faultmarks import MarkKind
from core.judging.head.files import Attention
from tests.judging.head.build import made_up, tiny_base
from training.faults.learning import LearnerOptions, Method, Schedule, Unwatched, make_learner
from training.faults.pretrain import pretrain, tag_rows
from training.faults.rows import Recipe, make_rows
from training.heads.store import open_reader, save_head, save_reader
from training.heads.train import graded_rows, train_head

SCALE = (1, 2, 3, 4, 5)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def reader(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fault pretraining made: full weights, since the base knows nothing."""
    folder = tmp_path_factory.mktemp("reader")
    options = LearnerOptions(Attention.BIDIRECTIONAL, Method.FULL, max_length=128, trains_embeddings=True)
    learner = make_learner(base, options, len(SCALE))
    recipe = Recipe(400, 1, longest=120, highest=8.0, shares={MarkKind.TYPO: 1.0, MarkKind.PRONOUN: 1.0})
    pretrain(learner, tag_rows(learner, make_rows(made_up(30, 1), recipe)), (), Schedule(5e-3, 1e-2, 2, 512), Unwatched())
    save_reader(folder, learner, str(base), None, {})
    return folder


def train(folder: Path, base: Path, reader: Path, method: Method) -> Path:
    """Train a head on texts whose label falls with their pronouns, and save it."""
    learner = open_reader(reader, base, LearnerOptions(method=method, rank=4), len(SCALE))
    texts = made_up(40, 5)
    labels = [5 - number % 5 for number in range(40)]
    spoiled = [spoil(text, 2 * (5 - label)) for text, label in zip(texts, labels, strict=True)]
    rows = graded_rows(learner, spoiled, labels, SCALE)
    trained = train_head(learner, rows[:30], rows[30:], Schedule(1e-3, 1e-3, 1, 1024, evaluate_every=5), Unwatched())
    save_head(
        folder, learner, dimension="fluency", labels=SCALE, base=str(base), base_revision=None, calibration=trained.calibration,
        marks=True, figures={"mae": 0.5},
    )  # fmt: skip
    return folder


def spoil(text: str, pronouns: int) -> str:
    """Push in pronouns, evenly."""
    step = max(1, len(text) // (pronouns + 1))
    for place in range(pronouns, 0, -1):
        text = text[: place * step] + "他" + text[place * step :]
    return text


@pytest.fixture(scope="session")
def head(base: Path, reader: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained head judge's folder."""
    return train(tmp_path_factory.mktemp("head"), base, reader, Method.FROZEN)
