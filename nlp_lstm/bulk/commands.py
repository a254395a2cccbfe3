"""Bulk inference: answers for whole files of texts, each row once, also after a kill."""

import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nlp_lstm import cli
from nlp_lstm.errors import UserError

if TYPE_CHECKING:
    from nlp_lstm.bulk import job as jobs
    from nlp_lstm.bulk import local_engine, ray_engine
    from nlp_lstm.bulk.answering import AppName
else:
    jobs = cli.LazyModule("nlp_lstm.bulk.job")
    local_engine = cli.LazyModule("nlp_lstm.bulk.local_engine")
    ray_engine = cli.LazyModule("nlp_lstm.bulk.ray_engine", needs_tensorflow=False)

app = App(name="bulk", help=__doc__, version_flags=[])

Input = Annotated[
    list[str],
    Parameter(
        consume_multiple=True,
        negative=(),
        help="Files, folders of them, or patterns such as `'data/*.jsonl.gz'`: text (a row a line), CSV, JSON Lines, "
        "each also packed, or Parquet.",
    ),
]
Output = Annotated[
    Path, Parameter(help="Folder for the answers, in parts; the same command goes on with what is missing there.")
]
Engine = Annotated[
    Literal["local", "ray"],
    Parameter(help="In this process, or on workers of Ray: of this machine, or of the cluster that RAY_ADDRESS names."),
]
Column = Annotated[str, Parameter(help="Column that holds the texts.")]
Prefix = Annotated[str, Parameter(help="Stands before the names of the columns that are added.")]
BatchSize = Annotated[int, Parameter(help="Rows that are answered at once.")]
ShardRows = Annotated[int, Parameter(help="Rows of a part, at the most: what is done again after a kill.")]
Workers = Annotated[int | None, Parameter(help="Processes of --engine ray; by default one a processor.")]

_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the verbs are told, all of them alike."""

    input: Input
    output: Output
    engine: Engine = "local"
    text_column: Column = "text"
    prefix: Prefix = ""
    batch_size: BatchSize = 256
    shard_rows: ShardRows = 2000
    workers: Workers = None
    model: cli.Model = None
    json: cli.Json = False


def _run(app_name: "AppName", options: Options) -> None:
    for flag, value in (
        ("--batch-size", options.batch_size),
        ("--shard-rows", options.shard_rows),
        ("--workers", options.workers),
    ):
        if value is not None and value < 1:
            raise UserError(f"{flag} is {value}: expected at least 1")
    if options.engine == "local" and options.workers is not None:
        raise UserError("--workers is for --engine ray: the local engine is this process")
    model = cli.shipped_unless_named(options.model, None, app_name)
    # Ray's workers have another current folder.
    job = jobs.Job(
        app_name,
        model.absolute(),
        options.output.absolute(),
        options.text_column,
        options.prefix,
        options.batch_size,
        options.shard_rows,
        Path.cwd(),
    )
    started = time.perf_counter()
    shards = job.shards(options.input, cli.tell)
    missing = [shard for shard in shards if not job.written(shard).exists()]
    rows, all_rows = (sum(shard.stop - shard.start for shard in some) for some in (missing, shards))
    if len(missing) < len(shards):
        cli.tell(f"{all_rows - rows:,} of {all_rows:,} rows are done: going on with the others")
    answered = bad = 0
    if missing:
        if options.engine == "ray":
            results = ray_engine.run(job, missing, options.workers or os.cpu_count() or 1)
        else:
            results = local_engine.run(job, missing)
        with Progress(*_COLUMNS, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("rows", total=rows)
            for result in results:
                answered += result.answered
                bad += result.bad
                progress.update(task, completed=answered + bad)
    seconds = time.perf_counter() - started
    told: dict[str, Any] = {
        "output": str(options.output),
        "rows": all_rows,
        "done_before": all_rows - rows,
        "answered": answered,
        "bad": bad,
        "seconds": round(seconds, 2),
        "rows_per_second": round((answered + bad) / seconds, 1),
    }
    if options.json:
        cli.print_json(told)
        return
    cli.print_figures(told)
    if bad:
        cli.tell(f"{bad} rows could not be answered: '{options.output / jobs.ERRORS}' says why")


@app.command
def sentiment(*, options: Annotated[Options, Parameter(name="*")]) -> None:
    """Tell the sentiment of each row's text: `sentiment` and `positive_probability`."""
    _run("sentiment", options)


@app.command
def translation(*, options: Annotated[Options, Parameter(name="*")]) -> None:
    """Translate each row's text: `translation` and `translation_score`."""
    _run("translation", options)


@app.command(name="char-lm")
def char_lm(*, options: Annotated[Options, Parameter(name="*")]) -> None:
    """Tell how likely the character model finds each row's text: `bits_per_char` and `symbols_scored`."""
    _run("char_lm", options)
