"""Suspected faults on the pages: exact offsets, escaping, overlaps; answers that are kept, taken back, and never a label."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from core.errors import ExportError, LabelError, NotFound
from core.faultmarks import MarkKind
from core.faultplaces import AnswerKind, Place, Voice
from tests.webapp.faulted import TEXTS, at, faulted_workbench
from tests.webapp.serving import build_app
from tests.webapp.test_pages import EN, ZH, assert_harmless
from webapp.cli.app import app
from webapp.pages.fault_marks import Mark, fault_pane, marked_text, marks
from webapp.workbench import Workbench

NAMES = {"zh": "用词不当", "en": "wrong word"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A workbench that tests only read."""
    return faulted_workbench(tmp_path_factory.mktemp("faults"))[0]


@pytest.fixture
def workbench(tmp_path: Path) -> Workbench:
    return faulted_workbench(tmp_path / "home")[0]


class _Text(HTMLParser):
    """What a browser shows of the HTML, and the characters under each mark."""

    def __init__(self) -> None:
        super().__init__()
        self.shown, self.under, self.looks = "", {}, {}
        self._now: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "mark"
        found = dict(attrs)
        self._now = [int(number) for number in (found["data-fm"] or "").split()]
        self.looks[self._now[0]] = (found["class"] or "").split()[-1]

    def handle_endtag(self, tag: str) -> None:
        self._now = []

    def handle_data(self, data: str) -> None:
        for number in self._now:
            self.under.setdefault(number, []).extend(range(len(self.shown), len(self.shown) + len(data)))
        self.shown += data


def drawn(*spans: tuple[int, int]) -> list[Mark]:
    voice = [Voice("head", start, end, 0.5, MarkKind.WORD, NAMES) for start, end in spans]
    return [Mark(n, Place(one.start, one.end, (one,)), "s2", "x", "x", "", (), None, ()) for n, one in enumerate(voice)]


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("😀\n\r<>&\"'{}"), min_size=1, max_size=30), st.data())
def test_marks_add_no_character_and_cover_just_their_place(text: str, data: st.DataObject) -> None:
    edge = st.integers(0, len(text) - 1)
    spans = data.draw(st.lists(st.tuples(edge, edge).map(lambda two: (min(two), max(two) + 1)), max_size=4))
    page = _Text()
    page.feed(str(marked_text(text, drawn(*spans))))
    page.close()
    assert page.shown == text
    assert page.under == {number: list(range(*span)) for number, span in enumerate(spans)}


def test_a_carriage_return_is_written_so_that_no_browser_changes_it() -> None:
    assert str(marked_text("a\r\nb", drawn((0, 2)))).count("&#13;") == 1


def test_the_pane_shows_how_probable_who_says_so_and_what_it_would_mean(shared: Workbench) -> None:
    row = shared.fault_answers.row(1, 1)
    pane = fault_pane(EN, row, "林")
    page = _Text()
    page.feed(pane.text)
    page.close()
    assert page.shown == TEXTS[0]
    assert page.looks == {0: "fm-s3", 1: "fm-s2", 2: "fm-rule", 3: "fm-s1"}
    assert [mark.title for mark in marks(ZH.t, row, "")][:3] == ["助词或量词误用 · 92%", "用词不当 · 55%", "叠字 · 规则"]
    rate = 100 * (0.92 + 0.55 + 1 + 0.2) / len(TEXTS[0])
    assert EN.t("faults.rate", value=f"{rate:.1f}") in pane.bar
    assert EN.t("faults.level", label=1) in pane.bar
    assert "Head" in pane.windows[0]
    assert "92%" in pane.windows[0]
    for html in (pane.text, pane.bar, *pane.windows, pane.form):
        assert_harmless(html)
    assert "<b>" not in pane.text
    choice = fault_pane(ZH, shared.fault_answers.row(1, 3), "林")
    assert (choice.windows, choice.form, choice.text) == ((), "", TEXTS[2])


def test_answers_change_the_count_and_never_a_label(workbench: Workbench) -> None:
    faults, before = workbench.fault_answers, workbench.row(1, 1)
    strong, middling = at("的发"), at("<b>河")
    faults.answer(1, 1, *strong, AnswerKind.REJECT, "林")
    given_ = faults.answer(1, 1, *middling, AnswerKind.CONFIRM, "林")
    faults.answer(1, 1, *middling, AnswerKind.REJECT, "吴")
    assert (given_.judge_id, given_.kind) == ("head", MarkKind.WORD)
    row = faults.row(1, 1, "林")
    assert [place.weight("林") for place in row.places] == [0, 1, 1, 0.2]
    found = marks(EN.t, row, "林")
    assert [mark.look for mark in found] == ["rejected", "confirmed", "rule", "s1"]
    assert [(say.name, say.words) for say in found[1].others] == [("吴", "no fault")]
    undone = faults.undo(1, given_.id, "林")
    assert undone.answer is AnswerKind.UNDO
    assert faults.row(1, 1, "林").places[1].answer_of("林") is None
    after = workbench.row(1, 1)
    assert (after.verdict, after.corrections, after.judgements) == (before.verdict, before.corrections, before.judgements)
    assert workbench.review.history(1).events == ()


def test_what_is_not_shown_cannot_be_answered(workbench: Workbench) -> None:
    faults = workbench.fault_answers
    for act in (
        lambda: faults.answer(1, 1, 0, 1, AnswerKind.CONFIRM, "林"),
        lambda: faults.answer(1, 1, *at("的发"), AnswerKind.CONFIRM, " "),
        lambda: faults.answer(1, 1, *at("的发"), AnswerKind.MISSED, "林"),
        lambda: faults.mark(1, 1, *at("\r\n"), None, "林"),
        lambda: faults.mark(1, 3, 0, 2, None, "林"),
        lambda: faults.mark(1, 2, 0, 4711, None, "林"),
    ):
        with pytest.raises(LabelError) as caught:
            act()
        assert caught.value.messages["zh"] != caught.value.messages["en"]
    for run, item in ((1, 99), (None, 99), (7, 1)):
        with pytest.raises(NotFound):
            faults.mark(run, item, 0, 1, None, "林")


def test_who_labels_blind_sees_no_other_persons_answers_until_they_have_labelled(workbench: Workbench) -> None:
    faults = workbench.fault_answers
    faults.mark(1, 2, 0, 2, MarkKind.TYPO, "吴")
    faults.mark(1, 2, 3, 5, None, "林")
    seen = faults.row(1, 2, "林", blind=True)
    assert (seen.hidden, [(place.start, place.end) for place in seen.places]) == (True, [(3, 5)])
    workbench.review.label(1, 2, 4, "林", blind=True)
    seen = faults.row(1, 2, "林", blind=True)
    assert (seen.hidden, len(seen.places)) == (False, 2)


def test_the_row_page_hears_the_judges_of_all_runs(workbench: Workbench) -> None:
    assert [place.start for place in workbench.fault_answers.row(None, 1).places] == [
        place.start for place in workbench.fault_answers.row(1, 1).places
    ]


def test_the_data_for_the_next_model_is_what_stands(workbench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = workbench.fault_answers
    faults.answer(1, 1, *at("的发"), AnswerKind.CONFIRM, "林")
    faults.mark(1, 1, *at("很长"), MarkKind.REPEATED, "吴")
    taken = faults.mark(1, 2, 0, 2, None, "林")
    faults.undo(2, taken.id, "林")
    monkeypatch.setenv("PINGPAN_HOME", str(workbench.settings.home))
    path = tmp_path / "new" / "faults.jsonl"
    told = CliRunner().invoke(app, ["faults", "export", str(path)])
    assert (told.exit_code, "1 texts" in told.output) == (0, True)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    expected = [[*at("的发"), "particle", "confirm", "林"], [*at("很长"), "repeated", "missed", "吴"]]
    assert lines == [{"text": TEXTS[0], "dimension": "fluency", "faults": expected}]
    with pytest.raises(ExportError, match="cannot be written"):
        faults.export(path / "below")


def test_the_pages_and_programs_requests(workbench: Workbench) -> None:
    place = {"start": at("的发")[0], "end": at("的发")[1]}
    row = {"language": "zh", "run": 1, "item": 1}
    with TestClient(build_app(workbench, workbench.settings)) as client:
        nameless = client.post("/faults/answer", json=row | place | {"answer": "confirm"})
        assert (nameless.status_code, "姓名" in nameless.json()["message"]) == (422, True)
        client.cookies.set("pingpan_annotator", quote("林"))
        pane = client.post("/faults/answer", json=row | place | {"answer": "confirm"}).json()
        assert "fm-confirmed" in pane["text"]
        assert 'data-own-answer="confirm"' in pane["windows"][0]
        assert client.get("/faults/row", params={"language": "zh", "item": 1}).json() == pane
        assert client.get("/faults/row", params={"language": "en", "item": 9}).status_code == 404
        assert client.post("/faults/answer", json=row | place | {"answer": "missed"}).status_code == 422
        assert client.post("/faults/missed", json=row | {"start": 0, "end": 1, "kind": "unheard_of"}).status_code == 422
        assert client.post("/faults/missed", content="{}", headers={"content-type": "text/plain"}).status_code == 422
        base = "/api/runs/1/rows/1/faults"
        found = client.get(base).json()[0]
        assert (found["start"], found["answers"][0]["author"]) == (place["start"], "林")
        missed = client.post(base, json={"start": 0, "end": 1, "answer": "missed", "kind": "typo", "author": "Wu"}).json()
        assert len(json.loads(client.get("/api/faults").text)["faults"]) == 2
        assert client.post(f"{base}/undo", json={"answer": missed["id"], "author": "Lin"}).status_code == 422
        assert client.post(f"{base}/undo", json={"answer": missed["id"], "author": "Wu"}).json()["retracts"] == missed["id"]
        assert len(json.loads(client.get("/api/faults").text)["faults"]) == 1
