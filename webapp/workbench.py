"""The use cases that pages and the command line share; each opens and closes its own transactions."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from core.dimensions import load_dimensions
from core.errors import BadRowsError, ExportError, LibraryError, NotFound, RunTaken, SheetError
from core.ingest import Limits, ParsedSheet
from core.judging.aggregation import AGGREGATORS, get_aggregator
from core.panels import get_panel, load_panels
from core.queries import ExportRow, RowDetail, RowQuery, RunPage, RunProgress
from core.review import QueueQuery
from core.settings import ASSETS, Settings
from core.types import Dimension, Library, Origin, PanelSpec, RowProblem, Run, RunState, Severity, Sheet, SheetRow, SourceRef
from db.engine import make_engine
from db.judge_facts import JudgeFactsStore
from db.migrate import upgrade
from db.store import SqlStore
from webapp.services.agreement import AgreementDesk
from webapp.services.engine import Engine
from webapp.services.explaining import Explanations
from webapp.services.exports import Exporter, ExportKind
from webapp.services.fault_answers import FaultAnswers
from webapp.services.libraries import LibraryDesk
from webapp.services.model_states import ModelStates
from webapp.services.panel_desk import PanelDesk
from webapp.services.prewarm import Prewarm, at_once
from webapp.services.review import ReviewDesk
from webapp.services.run_desk import RunDesk
from webapp.services.training.candidates import CandidateDesk
from webapp.services.training.jobs import JobDesk
from webapp.services.training.leases import CardLeases
from webapp.services.training.snapshots import SnapshotDesk
from webapp.services.unwritten import UnwrittenRuns
from webapp.services.uploads import Upload, Uploads, read_options
from webapp.views import Estimate, ExportTargets, Question, SheetPreview

__all__ = ["Estimate", "ExportTargets", "Question", "SheetPreview", "Workbench"]

SAMPLE_LIBRARY = "sample"
SAMPLES = ASSETS / "samples"
# Deciding so many rows again takes about a second, and need not wait for the worker.
DECIDED_AT_ONCE = 20_000
POLL_SECONDS = 0.5
FAULTS_SHOWN = 5


class Workbench:
    """The facade. Every method raises a PingpanError, with .messages per language, for what a user can mend."""

    def __init__(self, settings: Settings, store: SqlStore, dimensions: Mapping[str, Dimension], panels: Mapping[str, PanelSpec]) -> None:
        self.settings = settings
        self.store = store
        self._dimensions = dict(dimensions)
        self._panels = dict(panels)
        limits = Limits(max_bytes=settings.max_upload_mb * 2**20, max_rows=settings.max_rows)
        self._uploads = Uploads(settings.home / "uploads", limits, lambda: self._dimensions)
        self._exporter = Exporter(store, self._dimensions)

    @classmethod
    def open(cls, settings: Settings) -> Workbench:
        """Return the workbench on the database and files that the settings name, the schema brought up to date.

        Raises DimensionError, PanelError or StoreError with what to mend.
        """
        dimensions = load_dimensions(*settings.dimension_folders())
        panels = load_panels(*settings.panel_folders())
        settings.home.mkdir(parents=True, exist_ok=True)
        engine = make_engine(settings.resolved_database_url())
        upgrade(engine)
        return cls(settings, SqlStore(engine), dimensions, panels)

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self.settings, self.store, self._dimensions)

    @cached_property
    def unwritten(self) -> UnwrittenRuns:
        """The runs of the command line that still owe their files."""
        return UnwrittenRuns(self.settings.home / "unwritten")

    @cached_property
    def review(self) -> ReviewDesk:
        """The queues, leases, labels and audit of runs."""
        return ReviewDesk(self.store, self._dimensions)

    @cached_property
    def fault_answers(self) -> FaultAnswers:
        """Suspected faults and what people answered."""
        return FaultAnswers(self.store, self._dimensions)

    @cached_property
    def agreement(self) -> AgreementDesk:
        """The agreement of judges and people."""
        return AgreementDesk(self.store, self._dimensions)

    @cached_property
    def library_desk(self) -> LibraryDesk:
        """Libraries as people keep them."""
        return LibraryDesk(self.store, self._dimensions, self.settings.home / "index", lambda: self._engine.embedder())

    @cached_property
    def run_desk(self) -> RunDesk:
        """Lists, compares and deletes runs."""
        return RunDesk(self.store, self._dimensions)

    def prewarm(self, wait: Callable[[threading.Event], object] = at_once, prepare: Sequence[Callable[[], object]] = ()) -> Prewarm:
        """Return what loads and reads ahead what pages are made of, once `wait` returns; `prepare` is done first."""

        def read(run_id: int) -> None:
            self.store.rows(run_id, RowQuery())
            self.store.queue(run_id, QueueQuery(), "")
            self.review.counts(run_id)
            self.review.audit(run_id)
            self.agreement.agreement(run_id)

        return Prewarm(self.store, self.run_desk.compare, read, wait, prepare)

    @cached_property
    def panel_desk(self) -> PanelDesk:
        """Panels as files that people copy and edit."""
        return PanelDesk(self.settings, self._panels)

    @cached_property
    def snapshots(self) -> SnapshotDesk:
        """Training sets."""
        return SnapshotDesk(self.settings, self.store, self._dimensions, lambda: self._engine.prompts())

    @cached_property
    def jobs(self) -> JobDesk:
        """Training jobs."""
        return JobDesk(self.store, self.settings, self.panel_desk.panel)

    @cached_property
    def candidates(self) -> CandidateDesk:
        """The judges that jobs made, and their way into a panel."""
        return CandidateDesk(self.store, self._dimensions, self.jobs, self.panel_desk)

    @cached_property
    def card_leases(self) -> CardLeases:
        """Who computes on which card."""
        return CardLeases(self.store)

    @cached_property
    def model_states(self) -> ModelStates:
        """Whether judges could start now."""
        return ModelStates(self.settings)

    @cached_property
    def explanations(self) -> Explanations:
        """Judges' own words on a row, on demand."""
        return Explanations(self.settings, self.store, self._dimensions)

    @cached_property
    def judge_facts(self) -> JudgeFactsStore:
        """What stored judgements say of judges."""
        return JudgeFactsStore(self.store.engine)

    # What there is to choose from

    def dimensions(self) -> Sequence[Dimension]:
        """Return every dimension."""
        return list(self._dimensions.values())

    def panels(self) -> Sequence[PanelSpec]:
        """Return every panel, the one that is chosen by default first."""
        self.panel_desk.refresh()
        return sorted(self._panels.values(), key=lambda panel: (panel.id != self.settings.panel, panel.id))

    def aggregators(self) -> Sequence[str]:
        """Return the names of the aggregators, the one that is chosen by default first."""
        return sorted(AGGREGATORS, key=lambda name: (name != self.settings.aggregator, name))

    def libraries(self) -> Sequence[Library]:
        """Return every library, newest first; the sample library is always among them."""
        libraries = self.store.libraries()
        if not any(library.name == SAMPLE_LIBRARY for library in libraries):
            self._import_sample()
            libraries = self.store.libraries()
        return libraries

    def library_named(self, name: str) -> Library:
        """Return the library called `name`. Raises LibraryError naming the ones there are."""
        found = self.store.find_library(name) or (self._import_sample() if name == SAMPLE_LIBRARY else None)
        if found is None:
            known = ", ".join(library.name for library in self.libraries())
            raise LibraryError(
                f"«{name}» is neither a file nor a library; libraries: {known}.",
                zh=f"「{name}」既不是文件也不是示例库；已有示例库：{known}。",
            )
        return found

    def sample_sheet(self) -> Path:
        """Return the path of the sheet that is shipped for trying things out."""
        return SAMPLES / "sheet.xlsx"

    # Sheets and libraries

    def preview(
        self, path: Path, name: str = "", worksheet: str = "", mapping: Mapping[str, str] | None = None, *, require_labels: bool = False
    ) -> SheetPreview:
        """Keep a file and return what it holds. Raises SheetError where it cannot be read at all."""
        return self._preview(self._uploads.keep(path, name), worksheet, mapping, require_labels=require_labels)

    def preview_again(self, token: str, worksheet: str = "", mapping: Mapping[str, str] | None = None) -> SheetPreview:
        """Return what a kept file holds, read with another worksheet or mapping. Raises NotFound, SheetError."""
        return self._preview(self._uploads.get(token), worksheet, mapping, require_labels=False)

    def store_sheet(
        self, token: str, *, worksheet: str = "", mapping: Mapping[str, str] | None = None, skip_bad_rows: bool = False
    ) -> Sheet:
        """Store the rows of a kept file; the same file read in the same way is stored once.

        Raises SheetError when nothing can be judged, and BadRowsError when rows would be lost without `skip_bad_rows`.
        """
        parsed = self._uploads.read(self._uploads.get(token), read_options(worksheet, mapping))
        _refuse_unusable(parsed, skip_bad_rows=skip_bad_rows)
        skipped = len(parsed.error_rows)
        found = self.store.find_sheet(parsed.sha256, parsed.worksheet, parsed.mapping, skipped)
        self._uploads.forget(token)
        return found or self.store.add_sheet(
            name=parsed.name,
            sha256=parsed.sha256,
            format=parsed.format,
            encoding=parsed.encoding,
            worksheet=parsed.worksheet,
            columns=parsed.columns,
            mapping=parsed.mapping,
            rows=parsed.rows,
            problems=parsed.problems,
            skipped=skipped,
        )

    def problems(self, sheet_id: int) -> Sequence[RowProblem]:
        """Return everything that was wrong in a stored sheet."""
        return self.store.problems(sheet_id)

    def import_library(self, path: Path, name: str = "") -> Library:
        """Make a file of labelled rows the content of the library `name` (default: the file's name without its ending).

        Rows that cannot be used are left out; `preview(path, require_labels=True)` tells them. The same file again
        changes nothing. Raises SheetError or LibraryError when no row can be used.
        """
        return self._import(path, name.strip() or path.name, Origin.IMPORT)

    # Runs

    def estimate(self, rows: int, panel_id: str) -> Estimate:
        """Return what judging `rows` rows would cost, by the panel's rate in its last finished runs."""
        rate = self.store.measured_rate(panel_id)
        return Estimate(rows, rows * len(get_panel(self._panels, panel_id).judges), rate, rows / rate if rate else None)

    def start_run(self, sheet_id: int, library_id: int, panel_id: str, aggregator: str) -> Run:
        """Queue a run; a worker takes it."""
        self.panel_desk.refresh()
        panel = get_panel(self._panels, panel_id)
        return self.store.create_run(sheet_id, library_id, panel, get_aggregator(aggregator).id)

    def start_here(
        self, sheet_id: int, library_id: int, panel_id: str | None = None, aggregator: str | None = None, *, fresh: bool = False
    ) -> Run:
        """Return a run for `execute` in this process: the unfinished one of the same sheet, library, panel and aggregator
        (or one that is done and was never written out), else (or with `fresh`) a new one. What is not named is the default of the settings."""
        panel = get_panel(self._panels, panel_id or self.settings.panel)
        vote = get_aggregator(aggregator or self.settings.aggregator).id
        sheet, library = self.store.sheet(sheet_id), self.store.library(library_id)
        unfinished = self.store.find_resumable(
            sheet.sha256,
            library.version,
            panel.sha256,
            vote,
            worksheet=sheet.worksheet,
            mapping=sheet.mapping,
            skipped=sheet.skipped,
            unwritten=self.unwritten.ids(),
        )
        return unfinished if unfinished and not fresh else self.store.create_run(sheet_id, library_id, panel, vote)

    def ask(self, question: Question, library_id: int, panel_id: str, aggregator: str) -> Run:
        """Store one typed question as a sheet of one row and queue its run. Raises SheetError for what is missing."""
        dimension = self._dimensions.get(question.dimension_id)
        if dimension is None:
            raise SheetError(f"There is no dimension «{question.dimension_id}».", zh=f"没有评判维度「{question.dimension_id}」。")
        if not question.text.strip() and dimension.empty_text_label is None:
            raise SheetError("The text to judge is empty; type or paste it.", zh="待评判内容为空，请输入或粘贴。")
        if not question.prompt.strip() and dimension.needs_prompt:
            raise SheetError(
                f"{dimension.name('en')} needs the prompt too; type it.", zh=f"评判「{dimension.name('zh')}」需要填写创作要求。"
            )
        row = SheetRow(0, "Q1", dimension.id, question.prompt, question.text, None, SourceRef("", "", 1))
        digest = hashlib.sha256(f"question:{time.time_ns()}:{row.content_hash}".encode()).hexdigest()
        title = " ".join(question.text.split())[:40] or dimension.name("zh")
        sheet = self.store.add_sheet(
            name=title, sha256=digest, format="question", encoding="", worksheet="", columns=(), mapping={}, rows=[row]
        )
        return self.start_run(sheet.id, library_id, panel_id, aggregator)

    def runs(self, limit: int = 50) -> Sequence[Run]:
        """Return the latest runs, newest first."""
        return self.store.runs(limit)

    def run(self, run_id: int) -> Run:
        """Return a run. Raises NotFound."""
        return self.store.run(run_id)

    def stop(self, run_id: int) -> Run:
        """Ask a run to stop after the answers in flight; it can be resumed."""
        return self.store.request_stop(run_id)

    def ask_again(self, run_id: int, author: str = "", item_id: int | None = None, judge_id: str = "") -> int:
        """Have a run's failed, off-menu and refused answers (of one row, of one judge) given again; return how many.

        What was answered is kept; OK answers are never asked for again. Raises NotFound, and RunTaken while it is at work.
        """
        judges = [judge.id for judge in self.store.run(run_id).panel.judges]
        if judge_id and judge_id not in judges:
            known = ", ".join(judges)
            raise NotFound(
                f"Run {run_id} has no judge «{judge_id}»; choose one of: {known}.",
                zh=f"任务 {run_id} 中没有评委「{judge_id}」；可选：{known}。",
            )
        if item_id is not None:
            self.store.run_item(run_id, item_id)
        return self.store.ask_again(run_id, author, item_id, judge_id)

    def resume(self, run_id: int) -> Run:
        """Put a run that is stopped, paused or failed back into the queue."""
        return self.store.resume(run_id)

    def reaggregate(self, run_id: int, aggregator: str) -> Run:
        """Derive the verdicts anew from the stored judgements; no judge is asked. Raises RunTaken while the run is judged."""
        run = self.store.set_aggregator(run_id, get_aggregator(aggregator).id)
        if run.state is RunState.QUEUED and run.items <= DECIDED_AT_ONCE and run.started_at is not None:
            with suppress(RunTaken):  # the worker was faster, and does the same
                self._engine.execute(run_id)
        return self.store.run(run_id)

    def execute(self, run_id: int, on_progress: Callable[[RunProgress], None] | None = None) -> Run:
        """Work on a run in this process until it is over; where another process has it, follow that one.

        Raises CardTaken while a job or another run has a card that the panel's judges need; the run stays queued.
        """

        def report() -> None:
            if on_progress is not None:
                on_progress(self.store.progress(run_id))

        try:
            with self.card_leases.held(self.store.run(run_id)):
                self._engine.execute(run_id, report)
        except RunTaken:
            while self.store.run(run_id).state in {RunState.RUNNING, RunState.QUEUED}:
                report()
                time.sleep(POLL_SECONDS)
        report()
        return self.store.run(run_id)

    def reindex(self, library_id: int) -> float:
        """Build the vector index of a library again; return the seconds it took."""
        begun = time.perf_counter()
        self._engine.reindex(library_id)
        return time.perf_counter() - begun

    # What came of it

    def progress(self, run_id: int) -> RunProgress:
        """Return how far a run is. Raises NotFound."""
        return self.store.progress(run_id)

    def run_dimensions(self, run: Run) -> Mapping[str, int]:
        """Return how many rows of each dimension a run has."""
        return self.store.dimension_counts(run.sheet_id)

    def rows(self, run_id: int, query: RowQuery) -> RunPage:
        """Return one page of a run's rows. Raises NotFound."""
        return self.store.rows(run_id, query)

    def row(self, run_id: int, item_id: int) -> RowDetail:
        """Return everything known of one row. Raises NotFound."""
        return self.store.row(run_id, item_id)

    def export_rows(self, run_id: int) -> Iterator[ExportRow]:
        """Yield every row of a run in sheet order. Raises NotFound."""
        return self.store.export_rows(run_id)

    def export(self, run_id: int, kind: str, encoding: str = "utf-8-sig") -> Path:
        """Write one export under PINGPAN_HOME and return its path; `kind` is result.csv, full.xlsx or jsonl."""
        if kind not in set(ExportKind):
            known = ", ".join(ExportKind)
            raise ExportError(f"There is no export «{kind}»; there are: {known}.", zh=f"没有名为「{kind}」的导出；可选：{known}。")
        folder = self.settings.home / "exports" / f"run-{run_id}"
        targets = ExportTargets(folder / "result.csv", folder / "full.xlsx", folder / "submit", encoding)
        return self._exporter.write(run_id, ExportKind(kind), targets)

    def export_all(self, run_id: int, targets: ExportTargets) -> None:
        """Write every export of a run where `targets` say. Raises ExportError."""
        self._exporter.write_all(run_id, targets)

    def _preview(self, upload: Upload, worksheet: str, mapping: Mapping[str, str] | None, *, require_labels: bool) -> SheetPreview:
        parsed = self._uploads.read(upload, read_options(worksheet, mapping, require_labels=require_labels))
        return SheetPreview(
            upload.token,
            upload.name,
            parsed.sha256,
            parsed.size_bytes,
            parsed.format,
            parsed.encoding,
            parsed.worksheets,
            parsed.worksheet,
            parsed.columns,
            parsed.mapping,
            parsed.rows,
            parsed.total_rows,
            len(parsed.rows),
            Counter(row.dimension_id for row in parsed.rows),
            parsed.problems,
            len(parsed.error_rows),
            parsed.fatal,
        )

    def _import(self, path: Path, name: str, origin: Origin) -> Library:
        upload = self._uploads.keep(path, name)
        parsed = self._uploads.read(upload, read_options("", None, require_labels=True))
        self._uploads.forget(upload.token)
        if parsed.fatal or not parsed.rows:
            raise LibraryError(
                *_faults(parsed, f"No row of {parsed.name} can be used as an example.", f"{parsed.name} 中没有可用作示例的行。")
            )
        ending = path.suffix  # only the file's own goes: "v1.2" and "v1.3" are two libraries
        called = upload.name[: -len(ending)] if ending and upload.name.lower().endswith(ending.lower()) else upload.name
        return self.store.save_library(called, parsed.rows, origin)

    def _import_sample(self) -> Library:
        return self._import(SAMPLES / "library.xlsx", SAMPLE_LIBRARY, Origin.SAMPLE)


def _refuse_unusable(parsed: ParsedSheet, *, skip_bad_rows: bool) -> None:
    if parsed.fatal or not parsed.rows:
        raise SheetError(*_faults(parsed, f"No row of {parsed.name} can be judged.", f"{parsed.name} 中没有可以评判的行。"))
    if parsed.error_rows and not skip_bad_rows:
        count = len(parsed.error_rows)
        en, zh = _faults(
            parsed,
            f"{count} of {parsed.total_rows} rows of {parsed.name} cannot be judged. Mend them, or go on without them (--skip-bad-rows).",
            f"{parsed.name} 的 {parsed.total_rows} 行中有 {count} 行无法评判。请修正，或选择跳过这些行（--skip-bad-rows）。",
        )
        raise BadRowsError(en, parsed.error_rows, zh)


def _faults(parsed: ParsedSheet, en: str, zh: str) -> tuple[str, str]:
    """Return the sentences with the first errors under them."""
    errors = [problem for problem in parsed.problems if problem.severity is Severity.ERROR]
    more = len(errors) - FAULTS_SHOWN
    shown = errors[:FAULTS_SHOWN]
    lines = {"en": [en, *(f"  {p.message['en']}" for p in shown)], "zh": [zh, *(f"  {p.message['zh']}" for p in shown)]}
    if more > 0:
        lines["en"].append(f"  … and {more} more")
        lines["zh"].append(f"  ……另有 {more} 处")
    return "\n".join(lines["en"]), "\n".join(lines["zh"])
