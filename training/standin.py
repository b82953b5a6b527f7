"""Who answers in place of a model server that does not run: the same quantized weights, in this process.

A quantized candidate's panel line names a server. Measuring it needs none: the `transformers` family reads lmdeploy's AWQ
and W8A8 folders and computes with the very weights, rounded as they are (core/judging/transformers/lite.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core.training import EventKind
from core.types import JudgeSpec
from training.context import JobContext
from training.specs import JudgeLine

SERVER, TRANSFORMERS = "server", "transformers"


def stand_in(line: JudgeLine, context: JobContext) -> JudgeLine:
    """Return the line itself, or for a server with local weights that does not answer now, one that reads these weights here."""
    if line.family != SERVER:
        return line
    from core.judging.server.health import server_is_up
    from core.judging.server.options import read_options

    options = read_options(line.id, line.options)
    if options.serve is None or not Path(options.serve.model).is_dir():
        return line
    if server_is_up(JudgeSpec(line.id, line.id, line.family, line.options)):
        return line
    serve = options.serve
    used: Mapping[str, object] = {"model": serve.model, "revision": serve.revision, "allow_pickle": serve.allow_pickle}
    context.report(
        EventKind.NOTE,
        message={
            "en": f"The server of {line.id} does not run; its weights ({serve.model}) are read into this process and answer instead.",
            "zh": f"评委 {line.id} 的服务没有运行；改为在本进程中读入其权重（{serve.model}）作答。",
        },
    )
    return JudgeLine(id=line.id, family=TRANSFORMERS, options=dict(used))
