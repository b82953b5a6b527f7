"""The judge from a panel's line to judgements, through the real loading code."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import JudgeError
from core.judging.transformers import make_transformers_judge
from core.types import DimensionKind, JudgementStatus, JudgeRequest, said
from tests.judging.transformers.build import FAMILIES, context, dimension, request, spec, tiny_folder

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
