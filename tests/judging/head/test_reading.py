"""From texts to windows of tokens and from tokens back to characters and probabilities: whole, in order, whatever comes in."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import JudgeError
from core.faultmarks import DEFECT_KINDS, MARK_KINDS, MarkKind, kinds_marked
from core.judging.head.calibration import calibrated
from core.judging.head.files import Calibration, read_head_file
from core.judging.head.layout import Window, read_windows
from core.judging.head.spans import MOST, character_chances, mark_faults
from tests.judging.transformers.build import tiny_tokenizer

pytest.importorskip("transformers")
KINDS = (MarkKind.TYPO, MarkKind.ORDER)
TEXTS = st.text("今天天气很好，公园 \n龘😀ab", max_size=60)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer("qwen2")


def joined(windows: list[Window]) -> list[int]:
    return [token for window in windows for token in window.ids[window.lead :]]


@settings(max_examples=30)
@given(texts=st.lists(TEXTS, max_size=4), prompts=st.lists(TEXTS, min_size=4, max_size=4), longest=st.integers(8, 40), framed=st.booleans())
def test_windows_hold_every_token_of_a_text_once_and_know_its_characters(
    tokenizer: Any, texts: list[str], prompts: list[str], longest: int, framed: bool
) -> None:
    rows = read_windows(tokenizer, texts, longest, prompts[: len(texts)] if framed else None)
    for text, prompt, windows in zip(texts, prompts, rows, strict=False):
        assert joined(windows) == tokenizer(text, add_special_tokens=False)["input_ids"]
        assert all(0 < len(window.spans) <= len(window.ids) <= longest for window in windows)
        sizes = {len(window.spans) for window in windows}
        assert max(sizes, default=0) - min(sizes, default=0) < max(2, len(windows))  # equal parts, the last one shorter
        spans = [span for window in windows for span in window.spans]
        assert all(0 <= start < end <= len(text) for start, end in spans)
        assert {place for start, end in spans for place in range(start, end)} == set(range(len(text)))
        leads = {window.ids[: window.lead] for window in windows}
        whole = tokenizer(f"{prompt}\n\n", add_special_tokens=False)["input_ids"]
        assert leads <= {tuple(whole)} if len(whole) <= longest // 2 and framed else all(len(lead) <= longest // 2 for lead in leads)


def test_a_long_prompt_loses_its_end_but_not_the_blank_line(tokenizer: Any) -> None:
    ((window,),) = read_windows(tokenizer, ["短"], 20, ["很长的题目" * 20])
    assert window.lead == 10
    assert tokenizer.decode(window.ids[: window.lead]).endswith("\n\n")
    assert tokenizer.decode(window.ids[window.lead :]) == "短"


@given(st.lists(st.lists(st.floats(0, 0.5), min_size=2, max_size=2), max_size=40), st.floats(0.05, 0.95), st.randoms())
def test_marked_places_are_the_characters_over_the_threshold_apart_and_in_order(rows: list[list[float]], least: float, draw: Any) -> None:
    text = "".join(draw.choice("好坏 \n") for _ in rows)
    chances = np.array(rows, float).reshape(len(rows), 2)
    found = mark_faults(text, chances, KINDS, least)
    total = chances.sum(axis=1)
    marked = [place for fault in found for place in range(fault.start, fault.end)]
    assert marked == [place for place in range(len(text)) if total[place] >= least and not text[place].isspace()]
    assert len(found) <= MOST
    for fault in found:
        assert fault.probability == pytest.approx(min(1, total[fault.start : fault.end].max()))
        assert fault.kind is KINDS[int(chances[fault.start : fault.end].sum(axis=0).argmax())]
    for one, other in pairwise(found):
        assert one.end < other.start or text[one.end].isspace()


def test_tokens_beyond_the_text_and_characters_without_a_token_are_sound() -> None:
    found = character_chances(4, [(0, 1), (3, 9)], np.array([[0.2, 0.1], [0.5, 0.0]]))
    assert found.sum(axis=1) == pytest.approx([0.3, 0, 0, 0.5])
    assert character_chances(0, [], np.zeros((0, 2))).shape == (0, 2)


SHARES = st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda raw: sum(raw) > 0.01).map(lambda raw: [x / sum(raw) for x in raw])


@given(st.lists(SHARES, min_size=1, max_size=4), st.floats(0.2, 8), st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_corrected_probabilities_are_probabilities_and_the_plain_correction_changes_nothing(
    rows: list[list[float]], temperature: float, shifts: list[float]
) -> None:
    given_ = np.array(rows)
    assert calibrated(given_, Calibration()) == pytest.approx(given_, abs=1e-6)
    cooled = calibrated(given_, Calibration(temperature=temperature))
    moved = calibrated(given_, Calibration(temperature=temperature, shifts=tuple(shifts)))
    for result in (cooled, moved):
        assert result.sum(axis=1) == pytest.approx(np.ones(len(rows)))
        assert (result >= 0).all()
    for before, after in zip(given_, cooled, strict=True):  # what was likelier stays so
        assert all(after[a] >= after[b] - 1e-12 for a in range(3) for b in range(3) if before[a] >= before[b])
    raw = np.maximum(given_, 1e-9) ** (1 / temperature) * np.exp(shifts)  # the formula that head.json's field states
    assert moved == pytest.approx(raw / raw.sum(axis=1, keepdims=True))
    alone = [
        calibrated(given_[place : place + 1], Calibration(temperature=temperature, shifts=tuple(shifts)))[0] for place in range(len(rows))
    ]
    assert moved == pytest.approx(np.array(alone))


HEAD: dict[str, Any] = {
    "dimension": "fluency", "labels": [1, 2, 3], "base": "b", "weights": "base", "attention": "causal", "max_length": 64, "hidden_size": 8, "kinds": ["typo"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"labels": [1]}, "labels"),
        ({"labels": [3, 2, 1]}, "labels must rise"),
        ({"calibration": {"shifts": [0.1]}}, "as many shifts as labels"),
        ({"calibration": {"temperature": 0}}, "calibration.temperature"),
        ({"kinds": ["from the future"]}, "kinds.0"),
        ({"mark_from": 1.5}, "mark_from"),
        ({"version": 2}, "version"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_wrong_with_a_heads_file_is_told_by_its_key(changes: dict[str, Any], fault: str, tmp_path: Path) -> None:
    (tmp_path / "head.json").write_text(json.dumps({**HEAD, **changes}))
    with pytest.raises(JudgeError, match=f"train the head again, or correct:\n  .*{fault}") as caught:
        read_head_file(tmp_path)
    assert "请重新训练，或改正" in caught.value.messages["zh"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]"])
def test_a_heads_file_that_is_no_json_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "head.json").write_bytes(content)
    with pytest.raises(JudgeError, match=r"head\.json cannot be used"):
        read_head_file(tmp_path)
    (tmp_path / "head.json").write_text(json.dumps(HEAD))
    assert read_head_file(tmp_path).labels == (1, 2, 3)


def test_every_kind_of_fault_can_be_wrong_somewhere_and_defects_only_where_there_is_a_prompt() -> None:
    assert set(kinds_marked(needs_prompt=True)) == set(MarkKind)
    assert set(kinds_marked(needs_prompt=True)) - set(kinds_marked(needs_prompt=False)) == set(DEFECT_KINDS)
    assert not set(DEFECT_KINDS) & set(MARK_KINDS)
