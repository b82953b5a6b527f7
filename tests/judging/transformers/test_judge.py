"""The judge from a panel's line to judgements, through the real loading code."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import JudgeError, JudgeUnavailable
from core.judging.transformers import make_transformers_judge
from core.judging.transformers.chat import PromptEncoder
from core.judging.transformers.judge import TransformersJudge, cut
from core.judging.transformers.rationale import Narrator
from core.judging.transformers.scoring import PackedScorer
from core.ports import rows_wanted
from core.types import DimensionKind, JudgementStatus, JudgeRequest, said
from tests.judging.transformers.build import FAMILIES, context, dimension, request, spec, tiny_folder, tiny_model, tiny_tokenizer

torch = pytest.importorskip("torch")
TEXTS = [f"第{number}篇：今天天气很好，" + "我们去公园散步。" * (number % 5) for number in range(12)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_judges_rows_in_order_whatever_the_batch(family: str, tmp_path: Path) -> None:
    judge = make_transformers_judge(spec(tiny_folder(tmp_path / "model", family)), context(tmp_path))
    requests = [request(number, text) for number, text in enumerate(TEXTS)]
    together = list(judge.judge(requests))
    assert [judgement.item_id for judgement in together] == list(range(12))
    for row, judgement in zip(requests, together, strict=True):
        assert judgement.status is JudgementStatus.OK
        assert set(judgement.probabilities) == {1, 2, 3, 4, 5}
        assert math.isclose(sum(judgement.probabilities.values()), 1)
        below = sum(p for label, p in judgement.probabilities.items() if label < (judgement.label or 0))
        assert below < 0.5 <= below + judgement.probabilities[judgement.label or 0]  # the median
        assert judgement.prompt_sha256 == f"sha-{row.item.id}"
        assert judgement.tokens > 20
        (single,) = judge.judge([row])
        for label, probability in judgement.probabilities.items():
            assert single.probabilities[label] == pytest.approx(probability, abs=1e-5)
    judge.close()


def test_the_raw_reply_holds_the_models_own_log_probabilities(tmp_path: Path) -> None:
    judge = make_transformers_judge(spec(tiny_folder(tmp_path / "model", "qwen2")), context(tmp_path))
    (judgement,) = judge.judge([request(0, TEXTS[0])])
    reply = json.loads(judgement.raw_reply)["logprobs"]
    assert sum(map(math.exp, reply.values())) < 1  # the vocabulary has other tokens too
    assert max(reply, key=reply.get) == str(max(judgement.probabilities, key=lambda label: judgement.probabilities[label]))


def test_unordered_labels_get_the_likeliest(tmp_path: Path) -> None:
    nominal = replace(dimension(), kind=DimensionKind.NOMINAL)
    judge = make_transformers_judge(spec(tiny_folder(tmp_path / "model", "qwen2")), context(tmp_path, nominal))
    for judgement in judge.judge([request(number, text, nominal) for number, text in enumerate(TEXTS)]):
        assert judgement.probabilities[judgement.label or 0] == max(judgement.probabilities.values())


def test_rows_that_cannot_be_judged_get_a_status_and_leave_the_others_alone(tmp_path: Path) -> None:
    ten = dimension((1, 10), "ten")
    judge = make_transformers_judge(spec(tiny_folder(tmp_path / "model", "qwen2"), max_length=200), context(tmp_path, dimension(), ten))
    plain = request(0, TEXTS[0])
    rows = [plain, JudgeRequest(plain.item, plain.dimension), request(2, "很长" * 400), request(3, TEXTS[1], ten), request(4, TEXTS[0])]
    answers = list(judge.judge(rows))
    ok, failed, abstained = JudgementStatus.OK, JudgementStatus.FAILED, JudgementStatus.ABSTAINED
    assert [answer.status for answer in answers] == [ok, failed, failed, abstained, ok]
    assert "no prompt" in said(answers[1].error, "en")
    assert "the limit of this judge is 200" in said(answers[2].error, "en")
    assert "label 10 as 2 tokens" in said(answers[3].error, "en")
    assert [answer.probabilities for answer in answers[1:4]] == [{}, {}, {}]
    assert answers[0].probabilities == answers[4].probabilities


def test_a_dimension_that_came_after_start_up_is_learnt_then(tmp_path: Path) -> None:
    judge = make_transformers_judge(spec(tiny_folder(tmp_path / "model", "qwen2")), context(tmp_path))
    (answer,) = judge.judge([request(0, TEXTS[0], dimension((0, 1), "choice"))])
    assert set(answer.probabilities) == {0, 1}


def test_a_judge_that_can_judge_nothing_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="cannot judge any dimension"):
        make_transformers_judge(spec(tiny_folder(tmp_path / "model", "qwen2")), context(tmp_path, dimension((1, 10), "ten")))


def test_many_rows_pass_in_windows_while_the_next_is_tokenized(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "llama", num_hidden_layers=1)
    judge = make_transformers_judge(spec(folder, token_budget=4096), context(tmp_path))
    rows = [request(number, f"文本{number % 7}") for number in range(1100)]
    answers = list(judge.judge(rows))
    assert [answer.item_id for answer in answers] == list(range(1100))
    assert answers[0].probabilities == pytest.approx(answers[7].probabilities, abs=1e-5)
    assert answers[3].probabilities == pytest.approx(answers[1095].probabilities, abs=1e-5)


def test_a_reader_may_stop_early_and_nothing_is_left_running(tmp_path: Path) -> None:
    judge = make_transformers_judge(spec(tiny_folder(tmp_path / "model", "qwen2")), context(tmp_path))
    answers = judge.judge([request(number, "文本") for number in range(600)])
    assert next(answers).item_id == 0
    answers.close()  # type: ignore[attr-defined]
    assert list(judge.judge([])) == []


def test_closing_frees_the_model_and_ends_the_judge(tmp_path: Path) -> None:
    import gc
    import weakref

    judge = make_transformers_judge(spec(tiny_folder(tmp_path / "model", "qwen2")), context(tmp_path))
    list(judge.judge([request(number, text) for number, text in enumerate(TEXTS)]))
    models = [weakref.ref(thing) for thing in gc.get_objects() if type(thing).__name__ == "Qwen2ForCausalLM"]
    judge.close()
    judge.close()
    assert [model() for model in models] == [None] * len(models)
    with pytest.raises(JudgeError, match="closed"):
        next(judge.judge([request(0, "文本")]))


def test_output_that_is_no_number_is_a_failure_and_never_a_label(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "qwen2")
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"].fill_(float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    judge = make_transformers_judge(spec(folder), context(tmp_path))
    (answer,) = judge.judge([request(0, "文本")])
    assert answer.status is JudgementStatus.FAILED
    assert answer.label is None
    assert "not a number" in said(answer.error, "en")


def test_a_rationale_is_streamed_and_is_what_the_library_itself_would_generate(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from core.judging.transformers.chat import PromptEncoder
    from core.judging.why import question
    from tests.judging.transformers.build import tiny_tokenizer

    folder = tiny_folder(tmp_path / "model", "llama")
    judge = make_transformers_judge(spec(folder), context(tmp_path))
    asked = request(0, TEXTS[0])
    pieces = list(judge.explain(asked, 4))
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    assert asked.prompt is not None
    ids = torch.tensor(PromptEncoder(tiny_tokenizer("llama"), "llama").encode([question(asked.prompt, 4)]))
    expected = plain.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=256, do_sample=False, pad_token_id=0)[
        0, ids.shape[1] :
    ]
    assert "".join(pieces) == tiny_tokenizer("llama").decode(expected, skip_special_tokens=True)
    assert len(pieces) > 1
    (after,) = judge.judge([asked])
    assert after.status is JudgementStatus.OK


def test_a_reader_who_leaves_ends_the_rationale(tmp_path: Path) -> None:
    import threading

    judge = make_transformers_judge(spec(tiny_folder(tmp_path / "model", "qwen2")), context(tmp_path))
    words = judge.explain(request(0, TEXTS[0]), 4)
    next(words)
    words.close()  # type: ignore[attr-defined]
    assert [thread.name for thread in threading.enumerate() if thread.name == "rationale"] == []
    judge.close()
    with pytest.raises(JudgeError, match="cannot explain"):
        next(judge.explain(request(0, TEXTS[0]), 4))


# Devices that fail, over a real model whose passes break


@pytest.fixture(scope="module")
def small() -> tuple[Any, Any]:
    model, tokenizer = tiny_model("qwen2", num_hidden_layers=1), tiny_tokenizer("qwen2")
    return model, tokenizer


@contextmanager
def breaking(small: tuple[Any, Any], error: Callable[[int], Exception | None], **named: Any) -> Iterator[TransformersJudge]:
    """A judge whose passes raise what `error` gives for their number of tokens."""

    def check(_module: Any, _args: Any, inputs: dict[str, Any]) -> None:
        found = error(inputs["input_ids"].numel())
        if found is not None:
            raise found

    model, tokenizer = small
    handle = model.register_forward_pre_hook(check, with_kwargs=True)
    scorer = PackedScorer(model, 2_000, share_prefix=False)
    judge = TransformersJudge("q", scorer, Narrator(model, tokenizer), PromptEncoder(tokenizer, "qwen2"), [dimension()], 512, **named)
    try:
        yield judge
    finally:
        handle.remove()


def test_a_row_that_no_memory_is_enough_for_fails_alone_in_both_languages(small: tuple[Any, Any]) -> None:
    with breaking(small, lambda tokens: torch.OutOfMemoryError("full") if tokens > 150 else None) as judge:
        first, second, third = judge.judge([request(0, "短"), request(1, "很长的文字" * 30), request(2, "短")])
    assert [first.status, second.status, third.status] == [JudgementStatus.OK, JudgementStatus.FAILED, JudgementStatus.OK]
    assert f"no memory for this row of {second.tokens} tokens, even alone" in said(second.error, "en")
    assert f"这一行有 {second.tokens} 个词元，即使单独计算，设备内存也不够" in said(second.error, "zh")
    assert first.probabilities == pytest.approx(third.probabilities)


def test_a_device_that_breaks_pauses_the_run_with_what_to_do(small: tuple[Any, Any]) -> None:
    with breaking(small, lambda tokens: torch.AcceleratorError("CUDA error: device lost")) as judge:
        with pytest.raises(JudgeUnavailable, match=r"the device failed \(CUDA error: device lost\)\. Restart Pingpan") as caught:
            list(judge.judge([request(0, "文本")]))
        assert "请重启 Pingpan" in caught.value.messages["zh"]


def test_a_rationale_that_breaks_off_is_told(small: tuple[Any, Any]) -> None:
    with breaking(small, lambda tokens: torch.OutOfMemoryError("full")) as judge:
        with pytest.raises(JudgeUnavailable, match="could not finish its rationale: full") as caught:
            list(judge.explain(request(0, "文本"), 4))
        assert "未能说完理由" in caught.value.messages["zh"]
        with pytest.raises(JudgeError, match="has no prompt"):
            next(judge.explain(replace(request(0, "文本"), prompt=None), 4))


def test_on_a_card_it_likes_large_batches_and_begins_with_small_windows(small: tuple[Any, Any]) -> None:
    sizes: list[int] = []
    with breaking(small, lambda tokens: sizes.append(tokens), on_card=True) as judge:
        assert rows_wanted(judge) == 2_048
        answers = list(judge.judge([request(number, "文") for number in range(70)]))
        assert [found.item_id for found in answers] == list(range(70))
        assert len({tuple(found.probabilities.values()) for found in answers}) == 1
    assert sum(sizes) == sum(found.tokens for found in answers)
    with breaking(small, lambda tokens: None) as judge:
        assert rows_wanted(judge) == 0


@given(st.integers(0, 40), st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_windows_hold_every_row_once_in_order(count: int, sizes: list[int]) -> None:
    rows = [request(number, "") for number in range(count)]
    windows = list(cut(rows, sizes))
    assert [row for window in windows for row in window] == rows
    assert [len(window) for window in windows[:-1]] == [sizes[min(number, len(sizes) - 1)] for number in range(max(0, len(windows) - 1))]
    assert all(windows)
