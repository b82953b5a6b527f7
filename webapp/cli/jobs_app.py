"""The commands of `jobs` with their options; what they do stands in webapp/cli/jobs.py."""

from __future__ import annotations

from typing import Annotated

import typer

jobs_app = typer.Typer(
    help="Training jobs, what they made, and its way into a panel (docs/TRAINING.md).", no_args_is_help=True, rich_markup_mode=None
)
_Job = Annotated[int, typer.Argument(help="Number of the job (./run.sh jobs list).")]
_Candidate = Annotated[int, typer.Argument(help="Number of the candidate (./run.sh jobs candidates).")]
_Panel = Annotated[str, typer.Argument(help="Panel.")]
_Queue = Annotated[bool, typer.Option("--queue", help="Leave it to the runner of the workbench instead of working here.")]
_Author = Annotated[str, typer.Option(help="Who does this; default: your name on this machine.")]


@jobs_app.command("list")
def jobs_list(
    archived: Annotated[bool, typer.Option("--archived", help="Those that were archived instead.")] = False,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1)] = 50,
) -> None:
    """List the jobs, newest first, with state, place in the queue, progress and time left."""
    from webapp.cli.jobs import list_jobs

    list_jobs(archived=archived, limit=limit)


@jobs_app.command("show")
def jobs_show(job: _Job) -> None:
    """Say everything of one job: state, figures, spec, what it waits for, and the command that does it by hand."""
    from webapp.cli.jobs import show_job

    show_job(job)


@jobs_app.command("log")
def jobs_log(job: _Job, size: Annotated[int, typer.Option(help="Characters from the end.", min=1)] = 20_000) -> None:
    """Print the end of a job's log."""
    from webapp.cli.jobs import print_log

    print_log(job, size)


@jobs_app.command("run")
def jobs_run(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A spec.json, the name of a preset, or a kind of job such as fine_tune.")],
    snapshot: Annotated[int, typer.Option(help="Number of the snapshot (./run.sh snapshots list); fills the spec's `snapshot`.")] = 0,
    setting: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="A field of the spec; may be repeated.")] = None,
    measure: Annotated[bool, typer.Option(help="Measure what it makes on the held-out rows.")] = True,
    merge: Annotated[bool, typer.Option("--merge", help="Merge the adapter, too.")] = False,
    quantize: Annotated[list[str] | None, typer.Option(help="Quantize the merged model: auto_awq, smooth_quant; may be repeated.")] = None,
    panel: Annotated[str, typer.Option(help="Panel whose judge is measured on the same rows.")] = "",
    judge: Annotated[str, typer.Option(help="That judge; default: the panel's lead.")] = "",
    answers: Annotated[
        bool, typer.Option("--answers/--no-answers", help="Let a fault pretraining learn from people's answers on suspected faults, too.")
    ] = True,
    queue: _Queue = False,
    author: _Author = "",
) -> None:
    """Do a job here and follow it to its end; Ctrl-C saves and stops it.

    Exit status: 0 when every job is done, 1 when one failed, 75 when one was stopped, 2 for a mistake in the input.
    """
    from webapp.cli.jobs import RunOptions, run_job

    options = RunOptions(spec, snapshot, setting or [], measure, merge, quantize or [], panel, judge, queue, author, answers)
    raise typer.Exit(run_job(options))


@jobs_app.command("stop")
def jobs_stop(
    job: _Job,
    kill: Annotated[bool, typer.Option("--kill", help="End it at once, without saving; for a job that hangs.")] = False,
    chain: Annotated[bool, typer.Option("--chain", help="Stop what waits for it, too.")] = False,
) -> None:
    """Ask a job to save and stop."""
    from webapp.cli.jobs import stop_job

    stop_job(job, kill=kill, chain=chain)


@jobs_app.command("resume")
def jobs_resume(job: _Job, queue: _Queue = False) -> None:
    """Go on with a job that was stopped or failed, from its last checkpoint.

    Exit status as of `jobs run`.
    """
    from webapp.cli.jobs import resume_job

    raise typer.Exit(resume_job(job, queue=queue))


@jobs_app.command("archive")
def jobs_archive(job: _Job, restore: Annotated[bool, typer.Option("--restore", help="Bring it back.")] = False) -> None:
    """Take a job out of the list; nothing of it is lost."""
    from webapp.cli.jobs import archive_job

    archive_job(job, restore=restore)


@jobs_app.command("candidates")
def jobs_candidates(
    snapshot: Annotated[int, typer.Option(help="Only those of this snapshot.")] = 0,
) -> None:
    """List the judges that jobs made, with their figures on the held-out rows, drift, size and promotions."""
    from webapp.cli.candidates import list_candidates

    list_candidates(snapshot)


@jobs_app.command("measure")
def jobs_measure(
    candidate: Annotated[int | None, typer.Argument(help="Number of the candidate (./run.sh jobs candidates).")] = None,
    panel: Annotated[str, typer.Option(help="Or a judge of this panel,")] = "",
    judge: Annotated[str, typer.Option(help="this one (default: the lead),")] = "",
    snapshot: Annotated[int, typer.Option(help="on the held-out rows of this snapshot.")] = 0,
    queue: _Queue = False,
    author: _Author = "",
) -> None:
    """Measure a candidate, or a panel's judge, on the held-out rows of a snapshot.

    Exit status as of `jobs run`.
    """
    from webapp.cli.candidates import measure

    raise typer.Exit(measure(candidate, panel, judge, snapshot, author, queue=queue))


@jobs_app.command("report")
def jobs_report(
    candidate: _Candidate,
    panel: _Panel,
    judge: Annotated[str, typer.Argument(help="Judge that it is compared with; default: the panel's lead.")] = "",
    rows: Annotated[int, typer.Option(help="Rows to print of those that got better, and as many of those that got worse.", min=0)] = 5,
) -> None:
    """Compare a candidate with a panel's judge on the same held-out rows.

    Exit status: 0 better, 3 not proven, 4 worse, 2 when a measurement is missing.
    """
    from webapp.cli.candidates import print_report

    raise typer.Exit(print_report(candidate, panel, judge, rows))


@jobs_app.command("promote")
def jobs_promote(
    candidate: _Candidate,
    panel: _Panel,
    judge: Annotated[str, typer.Argument(help="Judge whose place it takes; without one it stands beside the others.")] = "",
    reason: Annotated[str, typer.Option(help="Why, although the gate says worse or not proven.")] = "",
    author: _Author = "",
) -> None:
    """Put a candidate into a panel: a new version of the panel's file. A shipped panel is copied first."""
    from webapp.cli.candidates import promote

    promote(candidate, panel, judge, reason, author)


@jobs_app.command("rollback")
def jobs_rollback(
    promotion: Annotated[int, typer.Argument(help="Number of the promotion (./run.sh jobs candidates).")], author: _Author = ""
) -> None:
    """Give a panel the very file that it had before a promotion."""
    from webapp.cli.candidates import roll_back

    roll_back(promotion, author)
