"""People's answers on suspected faults, frozen into the folder of the pretraining that learns from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from core.errors import JobError
from db.store import SqlStore
from training.faults.answers import read_answers
from training.faults.spec import FaultPretrainSpec
from training.files import write_whole
from training.jobdir import ANSWERS
from training.specs import JobSpec
from webapp.services.fault_answers import answer_lines


def freeze(spec: JobSpec, store: SqlStore) -> str | Callable[[Path], str]:
    """Return a spec's JSON, or what makes it in the job's folder: the spec of a pretraining that learns from answers names its own file.

    Those are the answers of the file that the spec names, else all that stand now; the latter only where it names a snapshot, for
    else nobody knows which rows must stay unseen. Raises JobError for a file that holds no answers.
    """
    if not isinstance(spec, FaultPretrainSpec) or not spec.answer_weight or (spec.answers is None and spec.snapshot is None):
        return spec.model_dump_json()
    if spec.answers is None:
        text = "".join(f"{line}\n" for line in answer_lines(store))
        if not text:
            return spec.model_dump_json()
    else:
        read_answers(spec.answers, spec.answers_sha256)
        text = spec.answers.read_text(encoding="utf-8")
    return lambda folder: _frozen(spec, text, folder).model_dump_json()


def _frozen(spec: FaultPretrainSpec, text: str, folder: Path) -> FaultPretrainSpec:
    path = folder / ANSWERS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise JobError(
            f"{path} cannot be written: {error.strerror}. Mend that and start the job again.",
            zh=f"无法写入 {path}：{error.strerror}。请排除原因后重新发起任务。",
        ) from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    count = sum(len(one.says) for one in read_answers(path, digest))
    return spec.model_copy(update={"answers": path, "answers_sha256": digest, "answers_count": count})
