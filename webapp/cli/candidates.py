"""`jobs candidates`, `measure`, `report`, `promote`, `rollback`: what jobs made, and its way into a panel and back."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from core.errors import JobError
from core.training import Comparison, GateVerdict
from core.types import said
from webapp.cli.console import plain_console
from webapp.cli.jobs import author_or_user, leave_or_follow, open_workbench
from webapp.services.training.views import CandidateView, GateReport, RowChange

STATUS = {GateVerdict.BETTER: 0, GateVerdict.UNPROVEN: 3, GateVerdict.WORSE: 4}
TEXT_SHOWN = 60


def list_candidates(snapshot_id: int) -> None:
    """Print the candidates, newest first, a line for every dimension."""
    desk, console = open_workbench().candidates, plain_console()
    table = Table("candidate", "name", "stage", "dimension", "rows", "MAE", "1/(1+MAE)", "QWK", "ECE", "drift", "MiB", "promoted", box=None)
    for view in desk.candidates(snapshot_id or None):
        _add(table, view)
    console.print(table)
    promotions = desk.promotions()
    if promotions:
        listed = Table("promotion", "candidate", "panel", "judge", "verdict", "reason", "by", "on", "rolled back", box=None)
        for one in promotions:
            made = one.created_at.astimezone().strftime("%Y-%m-%d %H:%M")
            back = one.rolled_back_at.astimezone().strftime("%Y-%m-%d %H:%M") if one.rolled_back_at else ""
            listed.add_row(
                str(one.id), str(one.candidate_id), one.panel_id, one.judge_id, one.verdict.value, one.reason, one.author, made, back
            )
        console.print(listed)


def _add(table: Table, view: CandidateView) -> None:
    one = view.candidate
    promoted = ", ".join(f"{promotion.panel_id}/{promotion.judge_id} ({promotion.id})" for promotion in view.promotions)
    head, tail = [str(one.id), one.name, one.stage.value], [f"{one.bytes / 2**20:.1f}", promoted]
    if not view.quality:
        note = f"job {view.measuring} measures" if view.measuring else said(view.problem, "en") or "not measured"
        table.add_row(*head, note, *[""] * 6, *tail)
    for name, quality in view.quality.items():
        drift = view.drift.get(name)
        figures = [f"{value:.3f}" for value in (quality.mae, quality.score, quality.kappa, quality.calibration_error)]
        table.add_row(*head, name or "(all)", str(quality.rows), *figures, f"{drift.drift:.3f}" if drift else "", *tail)
        head, tail = [""] * 3, [""] * 2


def measure(candidate: int | None, panel: str, judge: str, snapshot: int, author: str, *, queue: bool) -> int:
    """Measure a candidate or a panel's judge, and return the exit status."""
    workbench, who = open_workbench(), author_or_user(author)
    if candidate is not None:
        job = workbench.candidates.measure(candidate, who)
    elif panel and snapshot:
        job = workbench.candidates.measure_judge(panel, judge, snapshot, who)
    else:
        raise JobError("Name a candidate, or a judge with --panel, --judge and --snapshot.")
    return leave_or_follow(workbench, [job.id], queue=queue)


def print_report(candidate: int, panel: str, judge: str, rows: int) -> int:
    """Print a candidate's report and return the exit status that says its verdict."""
    report = open_workbench().candidates.report(candidate, panel, judge)
    console = plain_console()
    console.print(f"{report.candidate.name} against {panel}/{report.judge_id}")
    console.print(said(report.reason, "en"), soft_wrap=True)
    console.print(_figures(report))
    _print_rows(console, "Better on", report.better[:rows])
    _print_rows(console, "Worse on", report.worse[:rows])
    return STATUS[report.verdict]


def _figures(report: GateReport) -> Table:
    table = Table("dimension", "rows", "unanswered", "MAE", "1/(1+MAE)", "QWK", "ECE", "gain", "interval", "shift", "verdict", box=None)
    shown: list[Comparison] = [*report.dimensions, *([report.overall] if len(report.dimensions) > 1 else [])]
    for one in shown:
        pairs = [
            f"{old:.3f} → {new:.3f}"
            for old, new in (
                (one.old.mae, one.new.mae),
                (one.old.score, one.new.score),
                (one.old.kappa, one.new.kappa),
                (one.old.calibration_error, one.new.calibration_error),
            )
        ]
        unanswered = f"{one.old.unanswered} → {one.new.unanswered}"
        interval = f"{one.low:+.3f} … {one.high:+.3f}"
        name = one.dimension_id or "(all)"
        table.add_row(name, str(one.new.rows), unanswered, *pairs, f"{one.gain:+.3f}", interval, f"{one.shift:.3f}", one.verdict.value)
    return table


def _print_rows(console: Console, title: str, rows: Sequence[RowChange]) -> None:
    if not rows:
        return
    table = Table("row", "dimension", "label", "old", "new", "text", box=None, title=title, title_justify="left")
    for row in rows:
        text = " ".join(row.text.split())
        cut = text if len(text) <= TEXT_SHOWN else text[: TEXT_SHOWN - 1] + "…"
        old, new = ("–" if label is None else str(label) for label in (row.old, row.new))
        table.add_row(row.external_id, row.dimension_id, str(row.gold), old, new, cut)
    console.print(table)


def promote(candidate: int, panel: str, judge: str, reason: str, author: str) -> None:
    """Put a candidate into a panel and say where it stands."""
    change = open_workbench().candidates.promote(candidate, panel, judge, author_or_user(author), reason)
    console, made = plain_console(), change.promotion
    console.print(f"promotion {made.id}: {made.panel_id}/{made.judge_id} ({made.verdict.value}), {change.panel_file}")
    if change.serve_command:
        console.print(f"its server: {change.serve_command}")
    console.print(f"back again: ./run.sh jobs rollback {made.id}")


def roll_back(promotion: int, author: str) -> None:
    """Take a promotion back and say so."""
    made = open_workbench().candidates.roll_back(promotion, author_or_user(author))
    plain_console().print(f"promotion {made.id}: {made.panel_id} is as it was before")
