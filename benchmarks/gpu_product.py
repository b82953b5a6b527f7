"""The whole product with one language model: a sheet through the ordinary run, database, examples and prompts included.

    python -m benchmarks.gpu_product --model DIR [--sheet FILE] [--library FILE] [--device cuda] [--no-model] [--profile]

Makes an empty PINGPAN_HOME in a temporary folder, writes a panel of one judge, stores the sheet, and works on the run
through the workbench (SQLite, the n-gram embedder, the vector index) as a worker does. Printed: rows/s of the run, from
its first row to its last verdict and with loading; rows/s of the judge alone on the same prompts; seconds of loading; and
peak memory. `--no-model` puts a judge that answers at once in the model's place: what is left is the product's own rate.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from benchmarks.machine import describe_machine
from core.judging import registry
from core.judging.transformers.judge import CARD_BATCH
from core.ports import Judge, JudgeContext
from core.settings import ASSETS, Settings
from core.types import Judgement, JudgementStatus, JudgeRequest, JudgeSpec, Run, RunState
from webapp.workbench import Workbench

PANEL = "benchmark"
SAMPLE = ASSETS / "samples" / "sheet.xlsx"


@dataclass(slots=True)
class Clock:
    """When the judge was asked for, when it was ready, and what it was asked."""

    asked: float = 0.0
    ready: float = 0.0
    requests: list[JudgeRequest] = field(default_factory=list)


class Instant:
    """A judge that reads prompts and answers at once; the size of its answers is that of a model's."""

    reads_prompts = True
    preferred_batch = CARD_BATCH

    def __init__(self, judge_id: str) -> None:
        self.id = judge_id

    def judge(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
        """Yield the same distribution for every row."""
        for request in requests:
            labels = request.dimension.labels
            shares = {label: 1 / len(labels) for label in labels}
            raw = json.dumps({"logprobs": {str(label): -1.6094 for label in labels}})
            sha256 = request.prompt.sha256 if request.prompt else ""
            yield Judgement(
                self.id, request.item.id, JudgementStatus.OK, shares, labels[0], raw, prompt_sha256=sha256, latency_ms=1.0, tokens=1000
            )

    def close(self) -> None:
        """Do nothing."""


class Watched:
    """The judge with a note of its requests, for asking them again without the product."""

    reads_prompts = True

    def __init__(self, inner: Judge, clock: Clock) -> None:
        self._inner, self._clock = inner, clock
        self.id = inner.id
        self.preferred_batch = getattr(inner, "preferred_batch", 0)

    def judge(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
        """Pass the requests on."""
        self._clock.requests.extend(requests)
        return self._inner.judge(requests)

    def close(self) -> None:
        """Close the judge."""
        self._inner.close()


def watch_judges(clock: Clock, *, instant: bool) -> Callable[[JudgeSpec, JudgeContext], Judge]:
    """Return a maker of watched judges; the engine calls it in place of the registry's own."""
    make = registry.make_judge

    def made(spec: JudgeSpec, context: JudgeContext) -> Judge:
        clock.asked = time.perf_counter()
        inner = Instant(spec.id) if instant else make(spec, context)
        clock.ready = time.perf_counter()
        return Watched(inner, clock)

    return made


def prepare(home: Path, options: argparse.Namespace) -> tuple[Workbench, Run]:
    """Return a workbench on an empty home with the run queued."""
    judge = {"model": str(options.model), "device": options.device, "token_budget": options.budget, "dtype": options.dtype}
    if options.max_length:
        judge["max_length"] = options.max_length
    panel = {
        "names": {"zh": "基准", "en": "Benchmark"},
        "lead": "model",
        "judges": [{"id": "model", "name": "Model", "family": "transformers", "options": judge}],
    }
    (home / "panels").mkdir(parents=True)
    (home / "panels" / f"{PANEL}.yaml").write_text(yaml.safe_dump(panel, allow_unicode=True), encoding="utf-8")
    workbench = Workbench.open(Settings(home=home, open_browser=False, _env_file=None))  # type: ignore[call-arg]
    library = workbench.import_library(options.library) if options.library else workbench.library_named("sample")
    begun = time.perf_counter()
    sheet = workbench.store_sheet(workbench.preview(options.sheet).token, skip_bad_rows=True)
    print(f"sheet: {sheet.rows} rows read and stored in {time.perf_counter() - begun:.1f} s; library: {library.size} examples", flush=True)
    return workbench, workbench.start_run(sheet.id, library.id, PANEL, "pooled-median")


def work(workbench: Workbench, run: Run, *, profile: bool) -> tuple[Run, float]:
    """Execute the run; return it and the seconds it took."""
    profiler = cProfile.Profile() if profile else None
    begun = time.perf_counter()
    if profiler:
        profiler.enable()
    done = workbench.execute(run.id)
    if profiler:
        profiler.disable()
    seconds = time.perf_counter() - begun
    if profiler:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(45)
    if done.state is not RunState.DONE:
        raise SystemExit(f"the run is {done.state}: {done.error}")
    return done, seconds


def alone(workbench: Workbench, run: Run, clock: Clock, options: argparse.Namespace) -> None:
    """Print the rate of the judge by itself on the run's own prompts."""
    spec = run.panel.judges[0]
    dimensions = {one.id: one for one in workbench.dimensions()}
    from core.retrieval.ngram import NgramEmbedder

    judge = registry.make_judge(spec, JudgeContext((), "", dimensions, Path(options.home), NgramEmbedder()))
    list(judge.judge(clock.requests[:8]))
    begun = time.perf_counter()
    answers = list(judge.judge(clock.requests))
    seconds = time.perf_counter() - begun
    judge.close()
    tokens = sum(answer.tokens for answer in answers) / len(answers)
    print(f"judge alone: {len(answers)} rows of {tokens:.0f} tokens in {seconds:.1f} s = {len(answers) / seconds:.1f} rows/s", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("no-model"), help="folder of the model")
    parser.add_argument("--sheet", type=Path, default=SAMPLE)
    parser.add_argument("--library", type=Path, help="file of labelled rows; default: the sample library")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--budget", type=int, default=16_384)
    parser.add_argument("--max-length", type=int, default=0)
    parser.add_argument("--no-model", action="store_true", help="the product's own rate, without a model")
    parser.add_argument("--no-alone", action="store_true", help="do not measure the judge alone")
    parser.add_argument("--profile", action="store_true", help="print where the run's own thread spends its time")
    options = parser.parse_args(arguments)
    print(describe_machine())
    clock = Clock()
    engine: Any = import_module("webapp.services.engine")
    engine.make_judge = watch_judges(clock, instant=options.no_model)
    with tempfile.TemporaryDirectory(prefix="pingpan-bench-") as folder:
        options.home = folder
        workbench, run = prepare(Path(folder) / "home", options)
        begun = time.perf_counter()
        done, seconds = work(workbench, run, profile=options.profile)
        before, loading = clock.asked - begun, clock.ready - clock.asked
        judging = seconds - before - loading
        print(f"before the first row: {before:.1f} s for imports and the library's index, {loading:.1f} s for loading the model")
        print(
            f"run: {done.items} rows in {judging:.1f} s = {done.items / judging:.1f} rows/s, examples, prompts, storing and verdicts included"
        )
        print(f"run with everything before its first row: {seconds:.1f} s = {done.items / seconds:.1f} rows/s", flush=True)
        if not options.no_model and not options.no_alone:
            alone(workbench, done, clock, options)
        memory(options)
    print(f"threads left: {threading.active_count()}")


def memory(options: argparse.Namespace) -> None:
    """Print the peak memory of the process, and of the card where there is one."""
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
    if "torch" in sys.modules and not options.no_model:
        import torch

        if torch.cuda.is_available():
            print(f"peak memory of the card: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
