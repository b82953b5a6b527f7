"""Training sets: which labelled rows, on which side, with which prompts, frozen as files."""

from training.snapshots.build import LeftOut, LeftOutRow, Plan, PlannedRow, SplitChoice, plan_snapshot
from training.snapshots.files import SnapshotInfo, freeze, read_snapshot
from training.snapshots.prompts import ExampleShelf, prompted_rows

__all__ = [
    "ExampleShelf",
    "LeftOut",
    "LeftOutRow",
    "Plan",
    "PlannedRow",
    "SnapshotInfo",
    "SplitChoice",
    "freeze",
    "plan_snapshot",
    "prompted_rows",
    "read_snapshot",
]
