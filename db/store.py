"""The store: every part in one class, over one engine."""

from __future__ import annotations

from db.agreement import AgreementStore
from db.asked_again import AskedAgainStore
from db.corrections import CorrectionStore
from db.fault_answers import FaultAnswerStore
from db.housekeeping import HousekeepingStore
from db.libraries import LibraryStore
from db.library_desk import LibraryDeskStore
from db.progress import ProgressStore
from db.results import ResultStore
from db.review import ReviewStore
from db.run_desk import RunDeskStore
from db.runs import RunRepository
from db.sheets import SheetStore
from db.training import TrainingStore
from db.work import WorkStore


class SqlStore(
    SheetStore,
    LibraryStore,
    RunRepository,
    WorkStore,
    ProgressStore,
    ResultStore,
    CorrectionStore,
    ReviewStore,
    AgreementStore,
    LibraryDeskStore,
    RunDeskStore,
    TrainingStore,
    FaultAnswerStore,
    HousekeepingStore,
    AskedAgainStore,
):
    """The store on SQLite or PostgreSQL. It holds no state but the engine and what it remembers of searches; any thread may use it.

    Every method opens and closes its own transaction, and raises StoreError where the database cannot be used.
    """

    def close(self) -> None:
        """Close the pooled connections; the store opens new ones when it is used again."""
        self.engine.dispose()
