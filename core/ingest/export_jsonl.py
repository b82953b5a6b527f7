"""jsonl for scripts: one file with everything, and one per judge."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from core.ingest.export import dimension_name, whole_file, writable
from core.queries import ExportRow
from core.types import Dimension, Judgement, Run

_UNSAFE = re.compile(r"[^\w.\-]+")
RESULTS_FILE = "results.jsonl"


def write_jsonl(folder: Path, rows: Iterable[ExportRow], run: Run, dimensions: Mapping[str, Dimension]) -> list[Path]:
    """Write `results.jsonl` (everything of a row in a line) and `judge-<id>.jsonl` for each judge of the panel.

    Returns the paths, the combined file first. Texts stand in full and unguarded, as machines want them; every field
    is listed in docs/DATA.md. Raises ExportError; each file appears whole or not at all.
    """
    paths = [folder / RESULTS_FILE, *judge_files(folder, [judge.id for judge in run.panel.judges])]
    with ExitStack() as stack:
        files = [stack.enter_context(stack.enter_context(whole_file(path)).open("w", encoding="utf-8")) for path in paths]
        for row in rows:
            by_judge = {judgement.judge_id: judgement for judgement in row.judgements}
            files[0].write(_line(_combined(row, run, dimensions)))
            for judge, file in zip(run.panel.judges, files[1:], strict=True):
                judgement = by_judge.get(judge.id)
                if judgement is not None:
                    file.write(_line({**_identity(row, dimensions), **_answer(judgement), "raw_reply": judgement.raw_reply}))
    return paths


def judge_files(folder: Path, judge_ids: Iterable[str]) -> list[Path]:
    """Return one path per judge: ids with characters that are unsafe in file names get others, and a number if they clash."""
    paths: list[Path] = []
    for judge_id in judge_ids:
        stem = f"judge-{_UNSAFE.sub('_', judge_id)}"
        path, number = folder / f"{stem}.jsonl", 2
        while path in paths:
            path, number = folder / f"{stem}-{number}.jsonl", number + 1
        paths.append(path)
    return paths


def _line(fields: Mapping[str, object]) -> str:
    return writable(json.dumps(fields, ensure_ascii=False)) + "\n"


def _identity(row: ExportRow, dimensions: Mapping[str, Dimension]) -> dict[str, object]:
    item = row.item
    return {
        "id": item.external_id,
        "dimension": item.dimension_id,
        "dimension_name": dimension_name(dimensions, item.dimension_id),
        "row": item.source.row,
    }


def _answer(judgement: Judgement) -> dict[str, object]:
    return {
        "judge": judgement.judge_id,
        "status": judgement.status.value,
        "label": judgement.label,
        "probabilities": _probabilities(judgement.probabilities),
        "rationale": dict(judgement.rationale),
        "error": dict(judgement.error),
        "prompt_sha256": judgement.prompt_sha256,
        "latency_ms": round(judgement.latency_ms, 3),
        "tokens": judgement.tokens,
    }


def _combined(row: ExportRow, run: Run, dimensions: Mapping[str, Dimension]) -> dict[str, object]:
    item, verdict = row.item, row.verdict
    decision = verdict.decision if verdict is not None else None
    return {
        **_identity(row, dimensions),
        "prompt": item.prompt,
        "text": item.text,
        "gold": item.gold,
        "label": row.label,
        "corrected": row.corrected,
        "verdict": None
        if verdict is None or decision is None
        else {
            "label": decision.label,
            "expected": decision.expected,
            "probabilities": _probabilities(decision.probabilities),
            "outcome": decision.outcome.value,
            "reason": decision.reason,
            "disagreement": decision.disagreement,
            "aggregator": verdict.aggregator,
        },
        "judgements": [_answer(judgement) for judgement in in_panel_order(row, run)],
        "examples": [{"id": shown.external_id, "label": shown.label, "similarity": round(shown.similarity, 6)} for shown in row.examples],
        "extra": dict(item.extra),
        "sheet": item.source.file,
        "worksheet": item.source.worksheet,
        "run": run.id,
    }


def in_panel_order(row: ExportRow, run: Run) -> list[Judgement]:
    """Return the row's judgements in the order of the panel's judges."""
    place = {judge.id: position for position, judge in enumerate(run.panel.judges)}
    return sorted(row.judgements, key=lambda judgement: (place.get(judgement.judge_id, len(place)), judgement.judge_id))


def _probabilities(probabilities: Mapping[int, float]) -> dict[str, float]:
    return {str(label): round(share, 6) for label, share in sorted(probabilities.items())}
