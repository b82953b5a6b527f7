"""The snapshot desk: see what a training set would hold, freeze it, look into it, take it to other tools and back."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar

from core.dimensions import PromptBuilder
from core.errors import BadRowsError, JobError, LibraryError
from core.settings import Settings
from core.training import LabelledRow, Snapshot, SnapshotFilter, Split, TrainingRow
from core.types import Dimension, LabelledItem, Library, Origin
from db.store import SqlStore
from db.training import NewSnapshot
from training.formats import ExportFormat, ImportedFile, RecordProblem, file_name, read_training_file, write_training_file
from training.rows import FILES, iterate_rows, read_rows
from training.snapshots import ExampleShelf, LeftOut, Plan, PlannedRow, SnapshotInfo, SplitChoice, freeze, plan_snapshot, prompted_rows
from training.snapshots.files import read_info, verify, verify_held_out
from training.snapshots.prompts import prompt_marks

__all__ = ["ExportFormat", "ImportedTraining", "LeftOutGroup", "SnapshotChoices", "SnapshotDesk", "SnapshotFacets", "SnapshotPreview"]

T = TypeVar("T")

MAIN = "main"
LEFT_OUT_SHOWN = 5
PROBLEMS_SHOWN = 8


@dataclass(frozen=True, slots=True)
class SnapshotChoices:
    """What a snapshot is made of. `examples` is the number of retrieved examples in each prompt, 0 for none.

    The first snapshot of a `lineage` fixes its held-out rows; `held_out_share` counts for that one alone.
    """

    filter: SnapshotFilter = field(default_factory=SnapshotFilter)
    held_out_share: float = 0.2
    examples: int = 0
    seed: int = 0
    lineage: str = MAIN


@dataclass(frozen=True, slots=True)
class LeftOutGroup:
    """The rows that one reason keeps out: how many, and the first of them."""

    reason: LeftOut
    count: int
    first: tuple[LabelledItem, ...]


@dataclass(frozen=True, slots=True)
class SnapshotPreview:
    """What freezing would give; `samples` are training rows with their prompts. With `lineage_of` (a snapshot's id) the
    held-out rows are those of that snapshot."""

    counts: Mapping[str, Mapping[Split, Mapping[int, int]]]
    train_rows: int
    held_out_rows: int
    families: int
    left_out: tuple[LeftOutGroup, ...]
    samples: tuple[TrainingRow, ...]
    lineage_of: int | None = None


@dataclass(frozen=True, slots=True)
class SnapshotFacets:
    """What labelled rows can be filtered by, each with its number of rows; `None` among libraries: corrections themselves."""

    libraries: Mapping[int | None, int]
    dimensions: Mapping[str, int]
    origins: Mapping[Origin, int]
    authors: Mapping[str, int]
    lineages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImportedTraining:
    """A training file that became a library: `own` rows had Pingpan's own prompts, `problems` tells the rest."""

    library: Library
    kind: ExportFormat
    rows: int
    own: int
    problems: tuple[RecordProblem, ...]


class SnapshotDesk:
    """Training sets. Every method raises a PingpanError for what a user can mend."""

    def __init__(
        self, settings: Settings, store: SqlStore, dimensions: Mapping[str, Dimension], prompts: Callable[[], PromptBuilder]
    ) -> None:
        self._settings = settings
        self._store = store
        self._dimensions = dimensions
        self._prompts = prompts

    @property
    def folder(self) -> Path:
        """Return the folder of all snapshots."""
        return self._settings.home / "snapshots"

    # Making

    def facets(self) -> SnapshotFacets:
        """Return what there is to filter by."""
        counts = self._store.labelled_counts()
        lineages = dict.fromkeys(snapshot.lineage for snapshot in self._store.snapshots(limit=1000))
        return SnapshotFacets(
            _summed((kind.library_id, count) for kind, count in counts.items()),
            _summed((kind.dimension_id, count) for kind, count in counts.items()),
            _summed((kind.origin, count) for kind, count in counts.items()),
            _summed((kind.author, count) for kind, count in counts.items()),
            tuple(lineages),
        )

    def preview(self, choices: SnapshotChoices, *, samples: int = 3) -> SnapshotPreview:
        """Return what a snapshot would hold. Raises JobError where it could not be frozen."""
        first = self._first(choices)
        plan = self._plan(choices, first)
        train = plan.train()
        shown = train[:: max(1, len(train) // max(1, samples))][:samples]
        rows = tuple(prompted_rows(shown, self._prompts(), self._shelf(plan, choices.examples) if shown else None))
        groups: dict[LeftOut, list[LabelledItem]] = defaultdict(list)
        for left in plan.left_out:
            groups[left.reason].append(left.item)
        left_out = tuple(LeftOutGroup(reason, len(items), tuple(items[:LEFT_OUT_SHOWN])) for reason, items in sorted(groups.items()))
        held = len(plan.held_out())
        return SnapshotPreview(plan.counts(), len(train), held, plan.families, left_out, rows, None if first is None else first.id)

    def freeze(self, name: str, choices: SnapshotChoices, author: str = "") -> Snapshot:
        """Freeze a snapshot and return it; the same rows again are the snapshot that there is already.

        Raises JobError where no row is left, the balance cannot be reached, or the lineage was begun with other prompts.
        """
        first = self._first(choices)
        plan = self._plan(choices, first)
        prompts = self._prompts()
        shelf = self._shelf(plan, choices.examples)
        info = self._info(name, choices, author, plan, "" if shelf is None else shelf.retriever.index_version)
        train = prompted_rows(plan.train(), prompts, shelf)
        held_out: Iterator[TrainingRow] | Path = (
            prompted_rows([row for row in plan.rows if row.split is Split.HELD_OUT], prompts, shelf)
            if first is None
            else first.folder / FILES[Split.HELD_OUT]
        )
        waiting = self.folder / f".new-{hashlib.sha256(f'{choices.lineage}:{datetime.now(UTC)}'.encode()).hexdigest()[:12]}"
        done = freeze(waiting, info, train, held_out)
        return self._store_frozen(waiting, done, plan)

    def _store_frozen(self, waiting: Path, info: SnapshotInfo, plan: Plan) -> Snapshot:
        """Give the frozen folder its name and store the snapshot, or drop it where the same one is there."""
        for known in self._store.snapshots(limit=1000, lineage=info.lineage):
            if known.sha256 == info.sha256 and known.folder.is_dir():
                shutil.rmtree(waiting)
                return known
        digest = hashlib.sha256(f"{info.lineage}\n{info.sha256}".encode()).hexdigest()[:12]
        slug = re.sub(r"[^\w-]+", "-", info.name).strip("-")[:40]
        target = self.folder / f"{slug or 'snapshot'}-{digest}"
        if target.exists():
            shutil.rmtree(target)  # a freeze that was cut off before it was stored
        waiting.rename(target)
        return self._store.add_snapshot(
            NewSnapshot(
                name=info.name,
                lineage=info.lineage,
                folder=target,
                sha256=info.sha256,
                held_out_sha256=info.held_out_sha256,
                train_rows=info.train_rows,
                held_out=plan.held_out(),
                seed=info.seed,
                examples=info.examples,
                filter=info.filter,
                counts=info.counts,
                author=info.author,
            )
        )

    # Looking

    def snapshots(self, limit: int = 100) -> Sequence[Snapshot]:
        """Return the latest snapshots, newest first."""
        return self._store.snapshots(limit)

    def snapshot(self, snapshot_id: int) -> Snapshot:
        """Return a snapshot. Raises NotFound."""
        return self._store.snapshot(snapshot_id)

    def info(self, snapshot_id: int) -> SnapshotInfo:
        """Return what the snapshot's own file says of it, after checking that no file was changed. Raises NotFound, JobError."""
        folder = self._store.snapshot(snapshot_id).folder
        info = read_info(folder)
        verify(folder, info)
        return info

    def rows(self, snapshot_id: int, split: Split, page: int = 0, page_size: int = 10) -> Sequence[TrainingRow]:
        """Return one page of a snapshot's rows, in the file's order. Raises NotFound, JobError."""
        start = max(0, page) * page_size
        return list(islice(iterate_rows(self._store.snapshot(snapshot_id).folder, split), start, start + page_size))

    # To other tools and back

    def export(self, snapshot_id: int, kind: ExportFormat, split: Split = Split.TRAIN) -> Path:
        """Write one side of a snapshot in another tool's format and return the file. Raises NotFound, JobError, ExportError."""
        snapshot = self._store.snapshot(snapshot_id)
        verify(snapshot.folder, read_info(snapshot.folder))
        path = self._settings.home / "exports" / "snapshots" / snapshot.folder.name / file_name(split, kind)
        write_training_file(path, iterate_rows(snapshot.folder, split), kind)
        return path

    def read_training_file(
        self, path: Path, kind: ExportFormat | None = None, dimension_id: str = "", *, whole_prompts: bool = False
    ) -> ImportedFile:
        """Return what a training file holds as labelled rows, nothing stored. Raises SheetError."""
        return read_training_file(
            path, self._dimensions, self._prompts(), kind=kind, dimension_id=dimension_id, whole_prompts=whole_prompts
        )

    def import_training_file(
        self,
        path: Path,
        library: str = "",
        *,
        kind: ExportFormat | None = None,
        dimension_id: str = "",
        whole_prompts: bool = False,
        skip_bad_rows: bool = False,
        author: str = "",
    ) -> ImportedTraining:
        """Make the rows of a training file the content of a library (default: the file's name without its ending).

        Raises BadRowsError naming the records that cannot be read, unless `skip_bad_rows`; SheetError, LibraryError.
        """
        file = self.read_training_file(path, kind, dimension_id, whole_prompts=whole_prompts)
        bad = file.bad_records
        if not file.rows or (bad and not skip_bad_rows):
            raise _refused(path.name, file)
        saved = self._store.save_library(library or path.name.split(".")[0], file.rows, Origin.IMPORT, author)
        return ImportedTraining(saved, file.kind, len(file.rows), file.own, file.problems)

    # Parts

    def _first(self, choices: SnapshotChoices) -> Snapshot | None:
        """Return the snapshot that began the lineage, None for a new one. Raises JobError where its prompts are others now."""
        if not choices.lineage.strip():
            raise JobError("A lineage needs a name; give it one.", zh="系列名为空，请填写。")
        known = self._store.snapshots(limit=1_000_000, lineage=choices.lineage)
        if not known:
            return None
        first = known[-1]
        if first.examples != choices.examples:
            raise JobError(
                f"The lineage {first.lineage!r} has prompts with {first.examples} examples, not {choices.examples}; its held-out rows "
                "must stay the same. Choose as many, or begin another lineage.",
                zh=f"系列「{first.lineage}」的提示词含 {first.examples} 个示例（现选 {choices.examples} 个），留出行必须保持不变；请选用相同数目，或新建系列。",
            )
        info = read_info(first.folder)
        verify_held_out(first.folder, info)
        self._refuse_other_prompts(first, info)
        return first

    def _refuse_other_prompts(self, first: Snapshot, info: SnapshotInfo) -> None:
        marks = prompt_marks(self._dimensions, self._prompts())
        held = [name for name, splits in info.counts.items() if splits.get(Split.HELD_OUT)]
        changed = [name for name in held if marks.get(name) != info.prompts.get(name)]
        if changed:
            names = ", ".join(changed)
            raise JobError(
                f"The prompts of {names} changed since the lineage {first.lineage!r} began, and its held-out rows keep the old ones. "
                "Begin another lineage.",
                zh=f"系列「{first.lineage}」开始之后，{names} 的提示词已改变，而留出行保持旧提示词；请新建系列。",
            )

    def _plan(self, choices: SnapshotChoices, first: Snapshot | None) -> Plan:
        rows: Sequence[LabelledRow] = self._store.labelled_rows(choices.filter.library_ids)
        kept = [] if first is None else read_rows(first.folder, Split.HELD_OUT)
        return plan_snapshot(rows, choices.filter, SplitChoice(choices.held_out_share, choices.seed), self._dimensions, kept)

    def _shelf(self, plan: Plan, examples: int) -> ExampleShelf | None:
        if examples < 1:
            return None
        from core.retrieval.embedders import make_embedder
        from core.retrieval.index import ChromaIndex

        index = ChromaIndex(self._settings.home / "index-snapshots", make_embedder(self._settings.embedder))
        return ExampleShelf.over(plan.train(), self._dimensions, index, examples)

    def _info(self, name: str, choices: SnapshotChoices, author: str, plan: Plan, index_version: str) -> SnapshotInfo:
        if not name.strip():
            raise JobError("A snapshot needs a name; give it one.", zh="训练集名称为空，请填写。")
        used = _dimension_ids(plan)
        wanted = set(choices.filter.library_ids)
        return SnapshotInfo(
            name=name.strip(),
            lineage=choices.lineage,
            sha256="",
            held_out_sha256="",
            train_rows=0,
            held_out_rows=0,
            seed=choices.seed,
            held_out_share=choices.held_out_share,
            examples=choices.examples,
            filter=choices.filter,
            counts=plan.counts(),
            families=plan.families,
            left_out=Counter(left.reason.value for left in plan.left_out),
            libraries={one.name: one.version for one in self._store.libraries() if not wanted or one.id in wanted},
            prompts={name: mark for name, mark in prompt_marks(self._dimensions, self._prompts()).items() if name in used},
            prompt_versions={name: self._dimensions[name].prompt_version for name in used},
            index_version=index_version,
            author=author,
            created_at=datetime.now(UTC),
        )


def _summed(counts: Iterable[tuple[T, int]]) -> dict[T, int]:
    found: dict[T, int] = {}
    for key, count in counts:
        found[key] = found.get(key, 0) + count
    return found


def _dimension_ids(plan: Plan) -> list[str]:
    rows: list[PlannedRow] = list(plan.rows)
    return sorted({row.item.dimension_id for row in rows} | {row.dimension_id for row in plan.kept})


def _refused(name: str, file: ImportedFile) -> BadRowsError | LibraryError:
    errors = [problem for problem in file.problems if problem.record in set(file.bad_records)]
    lines = {
        "en": [f"  record {problem.record} {problem.message['en']}" for problem in errors[:PROBLEMS_SHOWN]],
        "zh": [f"  第 {problem.record} 条{problem.message['zh']}" for problem in errors[:PROBLEMS_SHOWN]],
    }
    more = len(errors) - PROBLEMS_SHOWN
    if more > 0:
        lines["en"].append(f"  … and {more} more")
        lines["zh"].append(f"  ……另有 {more} 条")
    en = f"{len(errors)} of {file.total} records of {name} cannot be imported. Mend them, or go on without them (--skip-bad-rows)."
    zh = f"{name} 的 {file.total} 条记录中有 {len(errors)} 条无法导入。请修正，或选择跳过（--skip-bad-rows）。"
    if not file.rows:
        en, zh = f"No record of {name} can be imported.", f"{name} 中没有可导入的记录。"
        return LibraryError("\n".join([en, *lines["en"]]), "\n".join([zh, *lines["zh"]]))
    return BadRowsError("\n".join([en, *lines["en"]]), file.bad_records, "\n".join([zh, *lines["zh"]]))
