"""Learning to see defects against a prompt, and a judge of a dimension with prompts that goes on from it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import JobError
from core.faultmarks import DEFECT_KINDS, MarkKind, suspected_faults
from core.judging.head.files import read_head_file
from core.judging.head.layout import read_windows
from core.training import Split, TrainingRow
from core.types import Judgement, JudgementStatus, JudgeRequest
from tests.judging.head.build import head_judge, tiny_base
from tests.judging.panel import dimensions, request
from tests.training.build import Context, finish, rows, snapshot
from tests.training.defects.build import TOPICS, made_up_pairs
from training.defects.material import Pair
from training.defects.rows import RATE_PER, DefectiveText, DefectRecipe, make_defect_rows
from training.faults.job import fault_pretrain
from training.faults.learning import Learner, LearnerOptions, Method, Schedule, Unwatched, make_learner
from training.faults.pretrain import TagFigures, figures, pretrain, tag_rows
from training.faults.spec import FaultPretrainSpec, Made
from training.heads.spec import HeadSpec
from training.heads.store import open_reader, read_reader, save_reader
from training.specs import read_spec

NORMATIVITY = dimensions()["normativity"]
SMALL = {"learning_rate": 3e-3, "head_rate": 6e-3, "tokens_per_step": 512, "max_length": 256, "device": "cpu", "rank": 4}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


def swaps(count: int, seed: int) -> list[DefectiveText]:
    """Rows whose text is as good as any: whether it is off topic can be told by the prompt alone."""
    pairs = made_up_pairs(count, seed, sentences=1, topics=2)
    made = make_defect_rows(pairs, DefectRecipe(2 * count, seed, 8.0, 0.5, 0.5))
    return [row for row in made if "全文" not in row.prompt]


@pytest.fixture(scope="module")
def taught(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TagFigures, float, float]:
    """A reader, its figures on new rows, and what a constant has there: the share of tagged tokens and the rate's error."""
    options = LearnerOptions(
        method=Method.FULL, max_length=256, trains_embeddings=True, reads_prompt=True, kinds=DEFECT_KINDS, rate_per=RATE_PER
    )
    one = make_learner(base, options, 5)
    pretrain(one, tag_rows(one, swaps(300, 1)), (), Schedule(4e-3, 8e-3, 3, 128), Unwatched())
    held = tag_rows(one, swaps(60, 2))
    tags = [tag for row in held for window in row.tags for tag in window]
    rates = [row.rate for row in held]
    folder = tmp_path_factory.mktemp("reader")
    save_reader(folder, one, str(base), None, {})
    return folder, figures(one, held, 4096), float(np.mean(np.array(tags) > 0)), float(np.abs(np.array(rates) - np.median(rates)).mean())


def test_a_tiny_model_learns_to_hold_the_text_against_its_prompt(taught: tuple[Path, TagFigures, float, float]) -> None:
    _, told, share, constant = taught
    assert 0.3 < share < 0.7
    assert told.area > 0.85
    assert told.rate_rank > 0.6
    assert told.rate_error < 0.8 * constant


def labelled(count: int, split: Split, seed: int) -> list[TrainingRow]:
    """Rows of 规范性: 5 for a text on its prompt's topic, 1 for one on the other topic."""
    made = []
    pairs = made_up_pairs(count, seed, sentences=1, topics=2)
    for number, (row, pair) in enumerate(zip(rows(count, split), pairs, strict=True)):
        right = number % 4 < 2
        prompt = pair.prompt if right else other_prompt(pair)
        made.append(replace(row, dimension_id="normativity", item_prompt=prompt, text=pair.text, label=5 if right else 1))
    return made


def other_prompt(pair: Pair) -> str:
    return "".join(TOPICS[1 - ["".join(words) for words in TOPICS].index(pair.prompt)])


@pytest.fixture(scope="module")
def head(base: Path, taught: tuple[Path, TagFigures, float, float], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head judge of 规范性 that a job made from the reader."""
    folder = tmp_path_factory.mktemp("job")
    frozen = snapshot(folder / "snapshot", labelled(60, Split.TRAIN, 3), [])
    values = {"name": "grade", "model": str(base), "snapshot": frozen, "dimension": "normativity", "reader": taught[0], "method": "frozen"}
    done = finish(folder / "head", HeadSpec.model_validate({**SMALL, **values}))
    assert done.product is not None
    return done.product.path


def requests() -> list[JudgeRequest]:
    """Rows with prompts of many lengths: none, the right one, the wrong one, and one longer than half of what is read at once."""
    made = []
    for number, pair in enumerate(made_up_pairs(6, 9, sentences=1, topics=2)):
        for prompt in (pair.prompt, other_prompt(pair), "", pair.prompt * 40):
            made.append(request(4 * number + len(made) % 4, NORMATIVITY, pair.text * (1 + number % 3 * 8), prompt))
    return made


def matrix(answers: list[Judgement]) -> np.ndarray:
    return np.array([list(answer.probabilities.values()) for answer in answers])


def test_a_head_on_a_dimension_with_prompts_reads_them_alone_and_in_any_batch(head: Path, tmp_path: Path) -> None:
    file = read_head_file(head)
    assert (file.reads_prompt, file.kinds, file.rate_per, file.marks) == (True, DEFECT_KINDS, 1000, True)
    judge, asked = head_judge(head, tmp_path), requests()
    together = list(judge.judge(asked))
    alone = [next(iter(judge.judge([one]))) for one in asked]
    mixed = list(head_judge(head, tmp_path, token_budget=300).judge(asked[::-1]))[::-1]
    for answers in (alone, mixed):
        assert np.abs(matrix(answers) - matrix(together)).max() < 1e-5
        assert [[one[:2] for one in json.loads(a.raw_reply)["faults"]] for a in answers] == [
            [one[:2] for one in json.loads(a.raw_reply)["faults"]] for a in together
        ]
    assert all(answer.status is JudgementStatus.OK for answer in together)


def test_a_text_is_graded_and_marked_by_the_prompt_that_it_answers(head: Path, tmp_path: Path) -> None:
    judge = head_judge(head, tmp_path)
    grades, marked = [], []
    for pair in made_up_pairs(12, 20, sentences=1, topics=2):
        answers = list(
            judge.judge([request(1, NORMATIVITY, pair.text, pair.prompt), request(2, NORMATIVITY, pair.text, other_prompt(pair))])
        )
        grades.append(matrix(answers) @ np.arange(1, 6))
        marked.append([sum(fault.end - fault.start for fault in suspected_faults(answer)) for answer in answers])
        facts = json.loads(answers[1].raw_reply)
        assert "per_1000" in facts
        assert all(fault.kind is MarkKind.OFF_TOPIC for fault in suspected_faults(answers[1]))
    right, wrong = np.array(grades).T
    assert right.mean() > wrong.mean() + 1
    assert np.array(marked)[:, 1].sum() > 3 * np.array(marked)[:, 0].sum()
    assert "每千字" in answers[1].rationale["zh"]


def test_a_long_prompt_loses_its_end_but_stays_apart_from_the_text(base: Path) -> None:
    learner = make_learner(base, LearnerOptions(method=Method.FROZEN, max_length=32, reads_prompt=True), 5)
    parting = tuple(learner.tokenizer("\n\n", add_special_tokens=False)["input_ids"])
    text = made_up_pairs(1, 1, sentences=6)[0].text
    (short,), (long,) = (read_windows(learner.tokenizer, [text], 32, [prompt]) for prompt in ("金木", "金木水火" * 30))
    for windows in (short, long):
        assert len(windows) > 1
        assert all(window.ids[: window.lead][-len(parting) :] == parting and window.lead <= 16 for window in windows)
        assert [span for window in windows for span in window.spans][-1][1] == len(text)


def test_a_job_learns_from_a_sheet_of_pairs_and_its_spec_comes_back(base: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "good.csv"
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["数据编号", "创作要求", "评判维度", "待评判内容"])
        writer.writerows([number, pair.prompt, "规范性", pair.text] for number, pair in enumerate(made_up_pairs(24, 1)))
    values = {"name": "see", "model": str(base), "makes": "defects", "texts": [sheet], "rows": 40, "swapped": 0.2, "epochs": 1}
    spec = FaultPretrainSpec.model_validate({**SMALL, **values})
    assert spec.makes is Made.DEFECTS
    assert read_spec(spec.model_dump_json(), "spec.json") == spec
    result = finish(tmp_path / "job", spec)
    assert result.product is None
    reader = read_reader(tmp_path / "job" / "output" / "reader")
    assert (reader.kinds, reader.rate_per, reader.reads_prompt) == (DEFECT_KINDS, 1000, True)
    with pytest.raises(JobError, match="this dimension has no prompts"):
        open_reader(tmp_path / "job" / "output" / "reader", base, LearnerOptions(), 5)
    held_out = [
        replace(row, item_prompt=pair.prompt, text=pair.text)
        for row, pair in zip(rows(4, Split.HELD_OUT), made_up_pairs(4, 7), strict=True)
    ]
    frozen = snapshot(tmp_path / "snapshot", [], held_out)
    with pytest.raises(JobError, match="0 of 24 pairs are no near-duplicates"):
        fault_pretrain(spec.model_copy(update={"snapshot": frozen}), Context(tmp_path))


def test_a_learner_without_prompts_has_the_tagger_that_it_had(base: Path) -> None:
    one: Learner = make_learner(base, LearnerOptions(method=Method.FROZEN), 5)
    assert one.heads["tag"].out_features == 11
    assert (one.rate_per, one.reads_prompt) == (100, False)
