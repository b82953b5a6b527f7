"""Every command with its options; what a command does stands in the module named like it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.training import Split
from core.types import Origin
from webapp.cli.jobs_app import jobs_app

app = typer.Typer(
    name="run.sh",
    help="Pingpan 评判台: judge texts with a panel of models, look where they disagree, correct them. Without a command: the workbench.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
library_app = typer.Typer(help="List and import libraries of labelled examples.", no_args_is_help=True)
app.add_typer(library_app, name="library")
models_app = typer.Typer(help="List and fetch the models that panels name.", no_args_is_help=True)
app.add_typer(models_app, name="models")
faults_app = typer.Typer(help="What people answered to suspected faults.", no_args_is_help=True)
app.add_typer(faults_app, name="faults")
app.add_typer(jobs_app, name="jobs")
users_app = typer.Typer(help="Who may sign in, where PINGPAN_USERS_FILE is set.", no_args_is_help=True)
app.add_typer(users_app, name="users")
snapshots_app = typer.Typer(
    help="Freeze training sets from libraries and corrections; take them to other tools and back.", no_args_is_help=True
)
app.add_typer(snapshots_app, name="snapshots")


@app.callback(invoke_without_command=True)
def _serve_by_default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        _serve()


def _serve() -> None:
    from core.settings import load_settings
    from webapp.server import serve

    serve(load_settings())


@app.command()
def serve() -> None:
    """Serve the workbench (what no command does too)."""
    _serve()


@app.command()
def judge(
    sheet: Annotated[Path, typer.Argument(help="Sheet to judge: xlsx, csv, tsv, json or jsonl.")],
    library: Annotated[str, typer.Option(help="File of labelled rows, or the name of a library that was imported.")] = "sample",
    panel: Annotated[str | None, typer.Option(help="Panel of judges; default: PINGPAN_PANEL.")] = None,
    aggregator: Annotated[str | None, typer.Option(help="pooled-median or reference-vote; default: PINGPAN_AGGREGATOR.")] = None,
    out: Annotated[Path, typer.Option(help="Where to write the labels.")] = Path("result.csv"),
    full: Annotated[Path | None, typer.Option(help="Where to write everything; default: full.xlsx beside --out.")] = None,
    jsonl: Annotated[Path | None, typer.Option(help="Folder for the JSON lines; default: submit beside --out.")] = None,
    encoding: Annotated[str, typer.Option(help="Encoding of --out: utf-8-sig or gb18030.")] = "utf-8-sig",
    worksheet: Annotated[str, typer.Option(help="Worksheet of a workbook; default: the first that is not empty.")] = "",
    column: Annotated[
        list[str] | None, typer.Option(help="field=header, for headers that are not recognised; fields: id prompt dimension text label.")
    ] = None,
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Go on without the rows that cannot be judged.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew even when an unfinished run of the same sheet is there.")] = False,
) -> None:
    """Judge a sheet from file to result.csv; a run that was interrupted goes on where it was.

    Exit status: 0 when every row has a verdict or was skipped knowingly, 1 when some row has none, 2 for a mistake in
    the input.
    """
    from webapp.cli.judge import JudgeOptions, run_judge

    raise typer.Exit(
        run_judge(
            JudgeOptions(sheet, library, panel, aggregator, out, full, jsonl, encoding, worksheet, column or [], skip_bad_rows, fresh)
        )
    )


@app.command()
def evaluate(
    sheet: Annotated[Path, typer.Argument(help="Labelled sheet (with 标注分值).")],
    library: Annotated[str, typer.Option(help="File of labelled rows, or the name of a library that was imported.")] = "sample",
    panel: Annotated[str | None, typer.Option(help="Panel of judges; default: PINGPAN_PANEL.")] = None,
    aggregator: Annotated[str | None, typer.Option(help="Aggregator; default: PINGPAN_AGGREGATOR.")] = None,
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Go on without the rows that cannot be judged.")] = False,
) -> None:
    """Judge a labelled sheet and print how far each judge and the verdict are from its labels."""
    from webapp.cli.evaluate import run_evaluate

    raise typer.Exit(run_evaluate(sheet, library, panel, aggregator, skip_bad_rows=skip_bad_rows))


@app.command()
def runs() -> None:
    """List the latest runs."""
    from webapp.cli.listings import list_runs

    list_runs()


@app.command("ask-again")
def ask_again(
    run: Annotated[int, typer.Argument(help="Number of the run, as `runs` prints it.")],
    judge: Annotated[str, typer.Option(help="Only this judge's answers.")] = "",
) -> None:
    """Queue a run again for its answers that failed, were off the menu or refused; those that are votes stay.

    The server's worker takes it up, or `judge` with the same sheet. What was answered is kept.
    """
    from webapp.cli.listings import ask_again as asked

    asked(run, judge)


@app.command("purge")
def purge() -> None:
    """Remove runs that were deleted more than 30 days ago for good, as the worker does once an hour."""
    from webapp.cli.listings import purge_runs

    purge_runs()


@app.command()
def export(
    run_id: Annotated[int, typer.Argument(help="Number of the run (./run.sh runs lists them).")],
    out: Annotated[Path, typer.Option(help="Where to write the labels.")] = Path("result.csv"),
    full: Annotated[Path | None, typer.Option(help="Where to write everything; default: full.xlsx beside --out.")] = None,
    jsonl: Annotated[Path | None, typer.Option(help="Folder for the JSON lines; default: submit beside --out.")] = None,
    encoding: Annotated[str, typer.Option(help="Encoding of --out: utf-8-sig or gb18030.")] = "utf-8-sig",
    aggregator: Annotated[str | None, typer.Option(help="Derive the verdicts again with this aggregator first; no judge is asked.")] = None,
) -> None:
    """Write the results of a run again, with another aggregator if you like."""
    from webapp.cli.judge import run_export

    run_export(run_id, out, full, jsonl, encoding, aggregator)


@library_app.command("list")
def library_list() -> None:
    """List the libraries with their size and version."""
    from webapp.cli.listings import list_libraries

    list_libraries()


@library_app.command("import")
def library_import(
    file: Annotated[Path, typer.Argument(help="File of labelled rows.")],
    name: Annotated[str, typer.Option(help="Name of the library; default: the file's name.")] = "",
) -> None:
    """Import a file of labelled rows as a library; the same file again changes nothing."""
    from webapp.cli.listings import import_library

    import_library(file, name)


@app.command()
def reindex(library: Annotated[str, typer.Option(help="Library to index again; default: all.")] = "") -> None:
    """Build the vector index again; it is a cache, nothing is lost."""
    from webapp.cli.listings import reindex_libraries

    reindex_libraries(library)


@models_app.command("list")
def models_list() -> None:
    """List the models of every panel, where they lie and how large they are."""
    from webapp.cli.models import run_list

    raise typer.Exit(run_list())


@models_app.command("fetch")
def models_fetch(
    panel: Annotated[str, typer.Argument(help="Panel whose models are fetched.")],
    verify: Annotated[bool, typer.Option("--verify", help="Check the hashes of what is here already, too.")] = False,
) -> None:
    """Fetch the models of a panel from Hugging Face or ModelScope (PINGPAN_HUB); what broke off goes on.

    Exit status: 1 when a model could not be had.
    """
    from webapp.cli.models import run_fetch

    raise typer.Exit(run_fetch(panel, verify=verify))


@faults_app.command("export")
def faults_export(file: Annotated[Path, typer.Argument(help="Where to write the JSON lines.")]) -> None:
    """Write every confirmed, rejected and missed fault as JSON lines: what the next judge that sees faults learns from."""
    from webapp.cli.listings import export_faults

    export_faults(file)


@snapshots_app.command("make")
def snapshots_make(
    name: Annotated[str, typer.Argument(help="Name of the snapshot.")],
    library: Annotated[list[str] | None, typer.Option(help="Library whose rows are taken; may be repeated; default: all.")] = None,
    dimension: Annotated[list[str] | None, typer.Option(help="Dimension that is taken; may be repeated; default: all.")] = None,
    origin: Annotated[list[Origin] | None, typer.Option(help="Origin that is taken; may be repeated; default: all.")] = None,
    author: Annotated[list[str] | None, typer.Option(help="Author whose labels are taken; may be repeated; default: all.")] = None,
    disputed: Annotated[bool, typer.Option("--disputed", help="Take rows too that people differ on, with their latest label.")] = False,
    balance: Annotated[float, typer.Option(help="Largest share of a dimension's training rows that one label may have.")] = 1.0,
    held_out: Annotated[float, typer.Option(help="Share that is held out, by family and label; only a lineage's first one splits.")] = 0.2,
    examples: Annotated[int, typer.Option(help="Retrieved examples in each prompt.", min=0, max=50)] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the split and the balance.", min=0)] = 0,
    lineage: Annotated[str, typer.Option(help="Snapshots of one lineage have the same held-out rows.")] = "main",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would hold.")] = False,
) -> None:
    """Freeze a training set; the same rows again are the snapshot that there is already."""
    from webapp.cli.snapshots import MakeOptions, make_snapshot

    make_snapshot(
        MakeOptions(
            name, library or [], dimension or [], origin or [], author or [], disputed, balance, held_out, examples, seed, lineage, dry_run
        )
    )


@snapshots_app.command("list")
def snapshots_list() -> None:
    """List the snapshots, newest first."""
    from webapp.cli.snapshots import list_snapshots

    list_snapshots()


@snapshots_app.command("show")
def snapshots_show(
    snapshot: Annotated[int, typer.Argument(help="Number of the snapshot (./run.sh snapshots list).")],
    rows: Annotated[int, typer.Option(help="Rows to print with their prompts.", min=0)] = 0,
    split: Annotated[Split, typer.Option(help="Of which side.")] = Split.TRAIN,
) -> None:
    """Check a snapshot's files and say what it holds."""
    from webapp.cli.snapshots import show_snapshot

    show_snapshot(snapshot, rows, split)


@snapshots_app.command("export")
def snapshots_export(
    snapshot: Annotated[int, typer.Argument(help="Number of the snapshot (./run.sh snapshots list).")],
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help="xtuner, trl, alpaca or sharegpt.")],
    split: Annotated[Split, typer.Option(help="Which side.")] = Split.TRAIN,
    out: Annotated[Path | None, typer.Option(help="Where to write; default: exports in PINGPAN_HOME.")] = None,
) -> None:
    """Write a snapshot's rows in the format of another training tool."""
    from webapp.cli.snapshots import export_snapshot

    export_snapshot(snapshot, kind, split, out)


@snapshots_app.command("import")
def snapshots_import(
    file: Annotated[Path, typer.Argument(help="Training file of XTuner, trl, Alpaca or ShareGPT form.")],
    library: Annotated[str, typer.Option(help="Library that it becomes; default: the file's name.")] = "",
    kind: Annotated[str, typer.Option("--format", help="xtuner, trl, alpaca or sharegpt; default: as the file looks.")] = "",
    dimension: Annotated[str, typer.Option(help="Dimension of prompts that are not Pingpan's own.")] = "",
    whole_prompts: Annotated[bool, typer.Option("--whole-prompts", help="Keep the words that all foreign prompts share.")] = False,
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Go on without the records that cannot be read.")] = False,
) -> None:
    """Make a library of a training file; every record that cannot be read is told."""
    from webapp.cli.snapshots import import_training

    import_training(file, library, kind, dimension, whole_prompts=whole_prompts, skip_bad_rows=skip_bad_rows)


@users_app.command("add")
def users_add(
    name: Annotated[str, typer.Argument(help="Name of the user, as labels carry it.")],
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
) -> None:
    """Add a user, or give one a new password."""
    from webapp.cli.users import add_user

    add_user(name, from_stdin=password_stdin)


@users_app.command("remove")
def users_remove(name: Annotated[str, typer.Argument(help="Name of the user.")]) -> None:
    """Remove a user; what they did keeps their name."""
    from webapp.cli.users import remove_user

    remove_user(name)


@users_app.command("list")
def users_list() -> None:
    """List the users."""
    from webapp.cli.users import list_users

    list_users()


@app.command("serve-judge")
def serve_judge(
    panel: Annotated[str, typer.Argument(help="Panel.")],
    judge: Annotated[str, typer.Argument(help="Judge of the panel whose model server is started.")],
    port: Annotated[int | None, typer.Option(help="Port instead of the panel file's.", min=1, max=65535)] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that loading may take.", min=1)] = 1800.0,
    print_only: Annotated[bool, typer.Option("--print", help="Only print the command, to be typed anywhere.")] = False,
) -> None:
    """Start a judge's model server (lmdeploy or vLLM) in its own environment and serve until Ctrl-C."""
    from webapp.cli.serve_judge import run_serve_judge

    raise typer.Exit(run_serve_judge(panel, judge, port, timeout, print_only=print_only))


@app.command()
def doctor() -> None:
    """Check this machine and the settings, and say what to mend."""
    from webapp.cli.doctor import run_doctor

    raise typer.Exit(run_doctor())
