"""The head judge: grades, marks, abstains; the same alone and in batches; the same from its folder whatever was trained."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import JudgeError, PanelError
from core.faultmarks import suspected_faults
from core.judging.head.files import HEAD_FILE, WEIGHTS_FILE, BaseWeights, read_head_file
from core.judging.head.options import Engine
from core.judging.registry import make_judge
from core.types import Judgement, JudgementStatus, JudgeRequest, JudgeSpec
from tests.judging.head.build import PLAIN, head_judge, made_up
from tests.judging.head.conftest import spoil, train
from tests.judging.panel import context, dimension, dimensions, request
from training.faults.learning import LearnerOptions, Method
from training.heads.store import open_reader
from training.heads.train import graded_rows, probabilities

FLUENCY = dimensions()["fluency"]
TEXTS = [spoil(text, number) for number, text in enumerate(made_up(12, 9))] + [PLAIN, PLAIN * 30]


def requests(texts: list[str]) -> list[JudgeRequest]:
    return [request(number, FLUENCY, text) for number, text in enumerate(texts)]


def matrix(answers: list[Judgement]) -> np.ndarray:
    return np.array([list(answer.probabilities.values()) for answer in answers])


def test_more_faults_get_a_lower_grade_and_each_pronoun_is_marked(head: Path, tmp_path: Path) -> None:
    judge = head_judge(head, tmp_path)
    text = made_up(1, 20)[0]
    answers = list(judge.judge(requests([text, spoil(text, 3), spoil(text, 8)])))
    expected = [sum(label * share for label, share in answer.probabilities.items()) for answer in answers]
    assert expected[0] > expected[1] > expected[2]
    assert all(answer.status is JudgementStatus.OK and abs(sum(answer.probabilities.values()) - 1) < 1e-9 for answer in answers)
    spoiled = spoil(text, 3)
    marked = {place for fault in suspected_faults(answers[1]) for place in range(fault.start, fault.end)}
    pronouns = {place for place, character in enumerate(spoiled) if character == "他"}
    assert pronouns <= marked
    assert len(marked) < len(spoiled) / 3
    surest = max(suspected_faults(answers[1]), key=lambda fault: fault.probability)
    assert surest.names["zh"] in answers[1].rationale["zh"]
    assert f"in {len(spoiled)} characters" in answers[1].rationale["en"]
    assert json.loads(answers[1].raw_reply)["characters"] == len(spoiled)
    judge.close()


@pytest.mark.parametrize("budget", [64, 300, 8192])
def test_an_answer_is_the_same_alone_and_in_any_batch(head: Path, tmp_path: Path, budget: int) -> None:
    whole = head_judge(head, tmp_path)
    together = list(whole.judge(requests(TEXTS)))
    alone = [next(iter(whole.judge([one]))) for one in requests(TEXTS)]
    other = head_judge(head, tmp_path, token_budget=budget)
    mixed = list(other.judge(requests(TEXTS)[::-1]))[::-1]
    for answers in (alone, mixed):
        assert np.abs(matrix(answers) - matrix(together)).max() < 1e-5
        assert [[fault[:2] for fault in json.loads(a.raw_reply)["faults"]] for a in answers] == [
            [fault[:2] for fault in json.loads(a.raw_reply)["faults"]] for a in together
        ]


def test_a_long_text_is_read_in_windows_and_marked_to_its_end(head: Path, tmp_path: Path) -> None:
    assert read_head_file(head).max_length == 128
    long = "".join(made_up(6, 11)) + "他他"
    (answer,) = head_judge(head, tmp_path).judge(requests([long]))
    assert answer.status is JudgementStatus.OK
    assert suspected_faults(answer)[-1].end >= len(long) - 1


def test_other_dimensions_scales_and_empty_texts_are_not_judged(head: Path, tmp_path: Path) -> None:
    judge = head_judge(head, tmp_path)
    known = dimensions()
    rows = [
        request(1, known["normativity"], PLAIN, "题目"),
        request(2, known["choice"], "正确选项为A 模型回复为A"),
        request(3, dimension("fluency", (1, 2, 3)), PLAIN),
        request(4, FLUENCY, "  "),
    ]
    answers = list(judge.judge(rows))
    assert [answer.status for answer in answers] == [JudgementStatus.ABSTAINED] * 4
    assert "fluency" in answers[0].error["en"]
    assert "fluency" in answers[0].error["zh"]


@pytest.mark.parametrize("method", list(Method))
def test_a_judge_answers_from_its_folder_as_the_trained_model_did(method: Method, base: Path, reader: Path, tmp_path: Path) -> None:
    folder = tmp_path / "head"
    folder.mkdir()
    train(folder, base, reader, method)
    assert read_head_file(folder).weights is BaseWeights.FULL  # the reader's weights are no longer the base's
    first = matrix(list(head_judge(folder, tmp_path).judge(requests(TEXTS))))
    moved = tmp_path / "moved"
    folder.rename(moved)
    assert np.array_equal(matrix(list(head_judge(moved, tmp_path).judge(requests(TEXTS)))), first)
    assert not list(moved.rglob("*.bin"))


@pytest.mark.parametrize(("method", "form"), [(Method.LORA, BaseWeights.ADAPTER), (Method.FROZEN, BaseWeights.BASE)])
def test_over_an_untouched_base_only_what_was_learned_is_kept(method: Method, form: BaseWeights, base: Path, tmp_path: Path) -> None:
    from core.judging.head.files import Calibration
    from training.faults.learning import make_learner
    from training.heads.store import save_head

    learner = make_learner(base, LearnerOptions(method=method, rank=4), 5)
    for weight in learner.trainable().values():
        weight.data += 0.05  # a fresh adapter changes nothing
    folder = tmp_path / "head"
    folder.mkdir()
    save_head(
        folder, learner, dimension="fluency", labels=(1, 2, 3, 4, 5), base=str(base), base_revision=None, calibration=Calibration(),
        marks=False, figures={},
    )  # fmt: skip
    assert read_head_file(folder).weights is form
    assert not (folder / "model").exists()
    answers = list(head_judge(folder, tmp_path).judge(requests(TEXTS)))
    raw = probabilities(learner, graded_rows(learner, TEXTS, [1] * len(TEXTS), (1, 2, 3, 4, 5)), 4096)
    assert np.abs(matrix(answers) - raw).max() < 1e-5
    assert all(suspected_faults(answer) == () for answer in answers)


def test_eight_bit_layers_stay_near_the_full_numbers(head: Path, tmp_path: Path) -> None:
    full = matrix(list(head_judge(head, tmp_path).judge(requests(TEXTS))))
    small = matrix(list(head_judge(head, tmp_path, engine=Engine.TORCH_INT8).judge(requests(TEXTS))))
    scale = np.array([1, 2, 3, 4, 5])
    assert np.abs(full - small).max() > 0
    assert np.abs((full - small) @ scale).mean() < 0.1


def test_what_is_wrong_with_a_folder_is_told(head: Path, base: Path, reader: Path, tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match=r"holds no head\.json"):
        head_judge(tmp_path, tmp_path)
    with pytest.raises(PanelError, match="known: head, base, engine"):
        head_judge(head, tmp_path, engin="torch")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / HEAD_FILE).write_text((head / HEAD_FILE).read_text(encoding="utf-8").replace('"full"', '"base"'), encoding="utf-8")
    with pytest.raises(JudgeError, match="missing or damaged"):
        head_judge(broken, tmp_path)
    (broken / WEIGHTS_FILE).write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00nothing")
    with pytest.raises(JudgeError, match="missing or damaged"):
        head_judge(broken, tmp_path)
    (broken / HEAD_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(JudgeError, match="dimension: Field required"):
        head_judge(broken, tmp_path)


def test_a_lora_head_goes_on_from_the_pretrained_tags(base: Path, reader: Path) -> None:
    learner = open_reader(reader, base, LearnerOptions(method=Method.LORA, rank=2), 5)
    fresh = open_reader(reader, base, LearnerOptions(method=Method.FROZEN), 5)
    rows = graded_rows(learner, [PLAIN], [5], (1, 2, 3, 4, 5))
    batch = learner.batch(rows[0].windows)
    assert np.allclose(learner.glance(batch).tags.detach(), fresh.glance(batch).tags.detach(), atol=1e-5)
    assert learner.attention is read_reader_attention(reader)


def read_reader_attention(reader: Path) -> object:
    from training.heads.store import read_reader

    return read_reader(reader).attention


def test_a_base_model_that_was_cut_off_is_told_with_the_command(head: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(head, tmp_path / "head"))
    weights = folder / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-64])
    with pytest.raises(JudgeError, match=r"cannot be loaded: .*models fetch.* --verify") as caught:
        head_judge(folder, tmp_path)
    assert f"无法加载 {folder / 'model'} 中的文件" in caught.value.messages["zh"]


def test_a_base_model_that_is_not_here_comes_with_the_panels_own_command(head: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(head, tmp_path / "head", ignore=shutil.ignore_patterns("model")))
    found = json.loads((folder / HEAD_FILE).read_text(encoding="utf-8")) | {"weights": "base", "base": "nobody/nothing"}
    (folder / HEAD_FILE).write_text(json.dumps(found), encoding="utf-8")
    spec = JudgeSpec("head", "head", "ordinal_head", {"head": str(folder), "device": "cpu"})
    with pytest.raises(JudgeError, match=r"\./run\.sh models fetch mine"):
        make_judge(spec, replace(context(tmp_path, []), panel_id="mine"))
