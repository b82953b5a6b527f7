"""Learning to see faults and to grade: in a made-up language, in seconds, the same each time, and stopped and gone on with."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from core.faultmarks import MarkKind
from core.judging.head.calibration import calibrated
from core.judging.head.files import Attention, Calibration
from core.judging.head.layout import Window
from core.judging.head.model import cumulative_log_probabilities, last_states
from tests.judging.head.build import PLAIN, made_up, tiny_base
from training.context import Stopped
from training.faults.learning import Learner, LearnerOptions, Method, Schedule, Unwatched, make_learner, plan_steps
from training.faults.pretrain import TaggedRow, figures, pretrain, tag_rows
from training.faults.rows import Recipe, make_rows
from training.heads.calibrate import CalibrationMethod, choose_calibration
from training.heads.folds import grouped_folds, inner_split
from training.heads.losses import OrdinalLoss, ordinal_loss
from training.heads.train import graded_rows, probabilities, train_head, votes

SEEN = {MarkKind.TYPO: 1.0, MarkKind.PRONOUN: 1.0}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


def learner(base: Path, method: Method = Method.FULL, attention: Attention = Attention.BIDIRECTIONAL) -> Learner:
    return make_learner(base, LearnerOptions(attention, method, max_length=256, rank=4, trains_embeddings=True), 5)


def rows(one: Learner, count: int, seed: int) -> list[TaggedRow]:
    return tag_rows(one, make_rows(made_up(30, seed), Recipe(count, seed, longest=120, highest=8.0, shares=SEEN)))


def test_a_tiny_model_learns_to_see_faults_of_a_made_up_language(base: Path) -> None:
    one = learner(base)
    held = rows(one, 30, 2)
    before = figures(one, held, 4096)
    told = pretrain(one, rows(one, 400, 1), held, Schedule(5e-3, 1e-2, 2, 512, evaluate_every=50, patience=9), Unwatched())
    assert told is not None
    assert before.area < 0.5
    assert told.area > 0.85
    assert told.kinds > 0.85
    assert told.rate_rank > 0.6
    assert told.rate_error < before.rate_error


class StopAt(Unwatched):
    """Asks to stop after so many questions, and remembers what it is told."""

    def __init__(self, questions: int = 10**9) -> None:
        self.questions = questions
        self.told: list[Mapping[str, float]] = []

    def validation(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        self.told.append(dict(figures))

    def stop_requested(self) -> bool:
        self.questions -= 1
        return self.questions == 0


def test_a_stopped_pretraining_goes_on_to_the_same_weights(base: Path, tmp_path: Path) -> None:
    schedule = Schedule(1e-3, 1e-2, 1, 1024, evaluate_every=4, patience=9)

    def run(folder: Path | None, watcher: Unwatched) -> Learner:
        one = learner(base)
        pretrain(one, rows(one, 60, 1), rows(one, 10, 2), schedule, watcher, folder)
        return one

    whole = run(None, Unwatched()).state()
    with pytest.raises(Stopped):
        run(tmp_path / "checkpoints", StopAt(6))
    resumed = run(tmp_path / "checkpoints", Unwatched()).state()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("method", list(Method))
def test_only_what_the_method_names_learns(base: Path, method: Method) -> None:
    one = learner(base, method)
    names = {name.split(".")[0] for name in one.trainable()}
    assert names == ({"heads"} if method is Method.FROZEN else {"backbone", "heads"})
    adapters = [name for name in one.trainable() if "lora_" in name]
    assert bool(adapters) is (method is Method.LORA)
    assert len(adapters) == len([name for name in one.trainable() if name.startswith("backbone.")]) or method is Method.FULL


def test_an_adapter_learns_in_fp32_above_a_base_in_bf16(base: Path) -> None:
    whole, half = (make_learner(base, LearnerOptions(max_length=256, rank=4, half=half), 5) for half in (False, True))
    assert {weight.dtype for weight in half.trainable().values()} == {torch.float32}
    frozen = half.backbone.get_base_model().parameters()
    assert {weight.dtype for weight in frozen if not weight.requires_grad} == {torch.bfloat16}
    seen = [one.glance(one.batch([row.windows[0] for row in rows(one, 8, 1)])).tags.detach() for one in (whole, half)]
    assert float((seen[0] - seen[1]).abs().mean()) < 0.02 * float(seen[0].abs().mean())
    held = rows(half, 20, 2)
    before = figures(half, held, 4096)
    told = pretrain(half, rows(half, 200, 1), held, Schedule(5e-3, 1e-2, 1, 512, patience=9), Unwatched())
    assert told is not None
    assert told.loss < before.loss


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
@pytest.mark.parametrize("width", [64, 192, 200, 320])
def test_gradients_are_finite_at_any_width_however_low_the_scores(base: Path, width: int) -> None:
    one = make_learner(base, LearnerOptions(max_length=512, rank=4, device="cuda", half=True), 5)
    for name, weight in one.backbone.named_parameters():
        if name.endswith(("q_proj.base_layer.bias", "k_proj.base_layer.bias")):
            weight.data.fill_(40.0 if "q_proj" in name else -40.0)
    ids = tuple(3 + place % 40 for place in range(width))
    windows = [Window(ids[:length], tuple((place, place + 1) for place in range(length))) for length in (width, width - 9)]
    one.glance(one.batch(windows)).tags.sum().backward()  # type: ignore[no-untyped-call]
    gradients = [weight.grad for name, weight in one.trainable().items() if name.startswith("backbone.")]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)


@pytest.mark.parametrize("attention", list(Attention))
def test_a_token_sees_what_comes_later_only_with_bidirectional_attention(base: Path, attention: Attention) -> None:
    one = learner(base, attention=attention)
    states = []
    for text in (PLAIN, PLAIN[:-2] + "丑丑"):
        ((window,),) = one.windows([text])
        with torch.no_grad():
            states.append(last_states(one.backbone, one.batch([window]), attention)[0])
    changed = not torch.allclose(states[0][0], states[1][0], atol=1e-6)
    assert changed is (attention is Attention.BIDIRECTIONAL)


def labelled(one: Learner, count: int, seed: int) -> tuple[list[str], list[int]]:
    """Texts of the made-up language whose label falls with the number of pronouns pushed in."""
    draw = random.Random(seed)
    labels = [draw.randint(1, 5) for _ in range(count)]
    found = []
    for label, text in zip(labels, made_up(count, seed), strict=True):
        places = sorted(draw.sample(range(1, len(text)), 2 * (5 - label)), reverse=True)
        for place in places:
            text = text[:place] + "他" + text[place:]
        found.append(text)
    return found, labels


@pytest.mark.parametrize(("loss", "times"), [(OrdinalLoss.LIKELIHOOD, 2), (OrdinalLoss.RANKED, 1), (OrdinalLoss.EXPECTED, 1)])
def test_a_head_learns_ordered_labels_and_the_same_each_time(base: Path, loss: OrdinalLoss, times: int) -> None:
    answers = []
    for _ in range(times):
        one = learner(base, Method.LORA)
        texts, labels = labelled(one, 80, 1)
        graded = graded_rows(one, texts, labels, (1, 2, 3, 4, 5))
        schedule = Schedule(2e-3, 1e-3, 2, 1024, evaluate_every=5, patience=9)
        trained = train_head(one, graded[:60], graded[60:], schedule, Unwatched(), loss)
        new_texts, new_labels = labelled(one, 40, 2)
        new = graded_rows(one, new_texts, new_labels, (1, 2, 3, 4, 5))
        answers.append(calibrated(probabilities(one, new, 1024), trained.calibration))
        error = np.abs(votes(answers[-1]) + 1 - np.array(new_labels)).mean()
        assert error < 0.6  # the constant median's is about 1.2
    assert all(np.array_equal(answers[0], other) for other in answers)


def test_a_frozen_model_is_graded_without_changing_it(base: Path) -> None:
    one = learner(base, Method.FROZEN)
    before = {name: weight.clone() for name, weight in one.backbone.state_dict().items()}
    tag = one.heads["tag"].weight.detach().clone()
    texts, labels = labelled(one, 60, 1)
    graded = graded_rows(one, texts, labels, (1, 2, 3, 4, 5))
    trained = train_head(one, graded[:45], graded[45:], Schedule(1e-3, 1e-3, 1, 1024), Unwatched())
    assert trained.validation is not None
    assert np.abs(votes(trained.validation) + 1 - np.array(labels[45:])).mean() < 1.0
    assert all(torch.equal(weight, before[name]) for name, weight in one.backbone.state_dict().items())
    assert torch.equal(one.heads["tag"].weight, tag)


def test_ordinal_losses_punish_a_far_miss_more_than_a_near_one() -> None:
    def sure(place: int) -> torch.Tensor:
        return (torch.nn.functional.one_hot(torch.tensor([place]), 5).double() * 0.95 + 0.01).log()

    truth = torch.tensor([0])
    for kind in (OrdinalLoss.RANKED, OrdinalLoss.EXPECTED):
        right, near, far = (float(ordinal_loss(sure(place), truth, kind)) for place in (0, 1, 4))
        assert right < near < far


def test_probabilities_of_labels_sum_to_one_and_a_far_off_score_still_has_a_gradient() -> None:
    cuts = torch.tensor([-1.0, 0.0, 0.5, 2.0])
    score = torch.tensor([[0.3], [-80.0], [80.0]], requires_grad=True)
    given = cumulative_log_probabilities(score, cuts)
    assert torch.allclose(given.exp().sum(1), torch.ones(3), atol=1e-6)
    assert given.exp()[0, 0].item() == pytest.approx(1 - 1 / (1 + np.exp(-1.3)))  # P(label > lowest) = sigmoid(score - first cut)
    ordinal_loss(given, torch.tensor([2, 4, 0]), OrdinalLoss.LIKELIHOOD).backward()
    assert score.grad is not None
    assert score.grad[1].item() < -0.3 < 0.3 < score.grad[2].item()


def test_calibration_tempers_overconfidence_and_leaves_few_rows_alone() -> None:
    draw = np.random.default_rng(0)
    places = draw.integers(0, 3, 300)
    given = np.full((300, 3), 0.01)
    guessed = np.where(draw.random(300) < 0.6, places, (places + 1) % 3)  # right in 60% of the rows, and 98% sure
    given[np.arange(300), guessed] = 0.98
    chosen = choose_calibration(given, places.tolist(), CalibrationMethod.TEMPERATURE)
    corrected = calibrated(given, chosen)
    assert chosen.temperature > 2
    assert corrected.max(axis=1).mean() == pytest.approx(0.6, abs=0.08)
    assert corrected.sum(axis=1) == pytest.approx(1.0)
    assert len(choose_calibration(given, places.tolist(), CalibrationMethod.VECTOR).shifts) == 3
    assert choose_calibration(given[:10], places[:10].tolist(), CalibrationMethod.VECTOR) == Calibration()


def test_folds_hold_each_row_out_once_and_never_part_a_family() -> None:
    draw = random.Random(3)
    texts = [text for _ in range(40) for text in ["".join(chr(draw.randint(0x4E00, 0x9FA5)) for _ in range(80))] * 2]
    labels = [place // 2 % 5 + 1 for place in range(80)]
    folds = grouped_folds(texts, labels, 4, 0)
    assert sorted(place for fold in folds for place in fold.held_out) == list(range(80))
    for fold in folds:
        assert not set(fold.train) & set(fold.held_out)
        assert {texts[place] for place in fold.train}.isdisjoint(texts[place] for place in fold.held_out)
        assert 15 <= len(fold.held_out) <= 25
        assert {labels[place] for place in fold.held_out} == {1, 2, 3, 4, 5}
    assert folds != grouped_folds(texts, labels, 4, 1)
    assert inner_split(texts, labels, 0.0, 0).held_out == ()


def test_steps_see_every_row_once_an_epoch_and_keep_to_the_budget() -> None:
    lengths: Sequence[int] = [random.Random(n).randint(5, 60) for n in range(100)]
    steps = plan_steps(lengths, Schedule(1e-3, 1e-3, 1.5, 240))
    seen = [index for step in steps for index in step]
    assert set(seen) == set(range(100))
    assert 130 <= len(seen) <= 170
    assert all(max(lengths[index] for index in step) * len(step) <= 240 for step in steps)
