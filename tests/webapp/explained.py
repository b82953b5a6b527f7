"""A workbench whose run was judged by a tiny model in this process, a model server and the rules."""

from __future__ import annotations

from pathlib import Path

import yaml

from core.settings import Settings
from core.types import Run, RunState
from tests.judging.server.engines import FakeServer
from tests.judging.transformers.build import tiny_folder
from webapp.workbench import Workbench

ROWS = (
    "数据编号,创作要求,评判维度,待评判内容\n"
    "D1,,流畅性,今天天气很好，我们去公园散步。\nD2,,流畅性,春天来了，花都开了，很美丽。\nD3,,流畅性,他错错说话不清楚，很难懂。\n"
)


def explained_workbench(home: Path, server: FakeServer) -> tuple[Workbench, Settings, Run]:
    """Return a workbench on `home` with a finished run of three rows."""
    model = tiny_folder(home / "tiny", "qwen2", max_position_embeddings=16_384)
    tiny = {"model": str(model), "check_memory": False, "device": "cpu"}
    remote = {"base_url": server.url, "engine": server.engine, "model": server.model, "concurrency": 2, "timeout": 5, "deadline": 20}
    judges = [
        {"id": "tiny", "name": "Tiny", "family": "transformers", "options": tiny},
        {"id": "remote", "name": "Remote", "family": "server", "options": remote},
        {"id": "rules", "name": {"zh": "规则", "en": "Rules"}, "family": "rules"},
    ]
    (home / "panels").mkdir()
    panel = {"names": {"zh": "试问", "en": "Asked"}, "lead": "tiny", "judges": judges}
    (home / "panels" / "asked.yaml").write_text(yaml.safe_dump(panel, allow_unicode=True), encoding="utf-8")
    settings = Settings(home=home, port=0, open_browser=False, examples=1, _env_file=None)  # type: ignore[call-arg]
    workbench = Workbench.open(settings)
    (home / "rows.csv").write_text(ROWS, encoding="utf-8")
    sheet = workbench.store_sheet(workbench.preview(home / "rows.csv").token)
    run = workbench.execute(workbench.start_run(sheet.id, workbench.libraries()[0].id, "asked", "pooled-median").id)
    assert run.state is RunState.DONE, run.error
    return workbench, settings, run
