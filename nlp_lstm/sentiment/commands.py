"""Sentiment analysis: train on labelled reviews, judge, use, look inside and export."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from nlp_lstm import cli
from nlp_lstm.datasets.review_table import TableFormat
from nlp_lstm.datasets.reviews import Part
from nlp_lstm.errors import UserError
from nlp_lstm.files import told_if_unwritable
from nlp_lstm.notices import tell
from nlp_lstm.run_folder import RunFolder, as_started
from nlp_lstm.sentiment.limits import MOST_UNITS
from nlp_lstm.sentiment.settings import Settings
from nlp_lstm.visible import for_terminal

if TYPE_CHECKING:
    from nlp_lstm import local_workers
    from nlp_lstm.pictures import gate_map, unit_table
    from nlp_lstm.sentiment import export as exporting
    from nlp_lstm.sentiment import inference, remote
    from nlp_lstm.sentiment import train as training
else:
    local_workers = cli.LazyModule("nlp_lstm.local_workers", needs_tensorflow=False)
    gate_map = cli.LazyModule("nlp_lstm.pictures.gate_map", needs_tensorflow=False)
    unit_table = cli.LazyModule("nlp_lstm.pictures.unit_table", needs_tensorflow=False)
    exporting = cli.LazyModule("nlp_lstm.sentiment.export")
    inference = cli.LazyModule("nlp_lstm.sentiment.inference")
    remote = cli.LazyModule("nlp_lstm.sentiment.remote", needs_tensorflow=False)
    training = cli.LazyModule("nlp_lstm.sentiment.train")

app = App(name="sentiment", help=__doc__, version_flags=[])


@app.command
def train(
    *,
    data: str,
    run: cli.NewRun,
    workers: cli.LocalWorkers = None,
    settings: Annotated[Settings, Parameter(name="*")] = Settings(),  # noqa: B008
) -> None:
    """Train a classifier. Started again with the same flags after a kill, it goes on from the last whole epoch.

    Parameters
    ----------
    data
        `sample`, a file or folder of reviews, or the name of a TensorFlow dataset such as `imdb_reviews`.
    """
    with RunFolder(run).being_written() as folder:
        local_workers.train_together(workers, lambda together: training.train(data, folder, settings, together))


@app.command
def evaluate(
    *,
    data: str,
    split: Part = "validation",
    model: cli.Model = None,
    run: cli.JudgedRun = None,
    validation_fraction: float | None = None,
    seed: int | None = None,
    encoding: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    labels: str | None = None,
    header: bool | None = None,
    plots: Path | None = None,
    json: cli.Json = False,
) -> None:
    """Judge a model on labelled texts.

    Parameters
    ----------
    data
        As for `train`.
    split
        Which texts to judge on: those that choices are made on, or in the end those of the test part, which is a tenth
        of a single table; `all` judges every row.
    validation_fraction
        As for `train`; where it is not named, as of --run.
    seed
        Likewise.
    encoding
        Likewise.
    text_column
        Likewise.
    label_column
        Likewise.
    labels
        Likewise.
    header
        Likewise.
    plots
        Folder for confusion.png and reliability.png.
    """
    model = cli.shipped_unless_named(model, run, "sentiment")
    how = as_started(run, Settings(), validation_fraction=validation_fraction, seed=seed)
    table = TableFormat(
        **as_started(
            run,
            Settings(),
            encoding=encoding,
            text_column=text_column,
            label_column=label_column,
            labels=labels,
            header=header,
        )
    )
    result = inference.evaluate(inference.open_signature(model, run), data, split, plots=plots, table=table, **how)
    if run is not None:
        RunFolder(run).keep_evaluation(result)
    if json:
        cli.print_json(result)
        return
    by_length = result.pop("accuracy_by_length")
    cli.print_figures(result)
    print("accuracy by length in tokens")
    for row in by_length:
        print(f"  {row['tokens']:>9}  {row['accuracy']:.4f}  ({row['examples']} texts)")


@app.command
def pairs(
    *,
    data: Path,
    model: cli.Model = None,
    run: cli.JudgedRun = None,
    server: cli.Server = None,
    json: cli.Json = False,
) -> None:
    """Judge a model on pairs of texts that differ in little but in their sentiment.

    Parameters
    ----------
    data
        JSON Lines, each with a `kind`, a `positive` text and a `negative` one. Of the kind `intensity` the first needs
        to be no more than the more positive one.
    """
    client = cli.client_of(server, model, run)
    if client is None:
        model = cli.shipped_unless_named(model, run, "sentiment")
        result = inference.judge_pairs(inference.open_signature(model, run), data)
        if run is not None:
            RunFolder(run).keep_pairs(result)
    else:
        result = remote.judge_pairs(client, data)
    if json:
        cli.print_json(result)
        return
    print(f"{'pairs':24} {'':4}  higher  both right")
    for row in (*result["by_kind"], {"kind": "all", **result}):
        both_right = "" if row["both_right"] is None else f"{row['both_right']:.4f}"
        print(f"{for_terminal(row['kind']):24} {row['pairs']:4}  {row['higher']:.4f}  {both_right}".rstrip())
    for wrong in result["wrong"]:
        first, second = wrong["scores"]
        print(
            f"not higher: {first:.3f} {for_terminal(wrong['positive'])}  {second:.3f} {for_terminal(wrong['negative'])}"
        )


@app.command
def predict(
    *texts: cli.Texts,
    file: cli.TextFile = None,
    encoding: cli.Encoding = "",
    model: cli.Model = None,
    run: cli.Run = None,
    server: cli.Server = None,
    json: cli.JsonLines = False,
) -> None:
    """Tell the sentiment of texts."""
    client = cli.client_of(server, model, run)
    if client is None:
        model = cli.shipped_unless_named(model, run, "sentiment")
        inputs = cli.texts_from(texts, file, encoding)
        answer = inference.predict(inference.open_signature(model, run), inputs)
        verdicts = [
            (label.decode(), float(score)) for label, score in zip(answer["label"], answer["score"], strict=True)
        ]
    else:
        inputs = cli.texts_from(texts, file, encoding)
        verdicts = [(one.label, one.score) for one in client.sentiment(inputs)]
    for text, (label, score) in zip(inputs, verdicts, strict=True):
        shown = text.decode("utf-8", "replace")
        if json:
            cli.print_json({"text": shown, "label": label, "score": score})
        else:
            echo = for_terminal(shown, keep="\t")
            print(f"{label}  {score:.3f}  {echo}")


@app.command
def explain(
    *texts: cli.Texts,
    file: cli.TextFile = None,
    encoding: cli.Encoding = "",
    model: cli.Model = None,
    run: cli.Run = None,
    server: cli.Server = None,
    units: bool = False,
    count: int = 5,
    plot: Path | None = None,
    json: cli.JsonLines = False,
) -> None:
    """Show each token's share of the verdict, P(positive) of the text up to it, and how far the gates stood open at it.

    Parameters
    ----------
    units
        Show the units that decide, too: those whose shares of the verdict are the largest.
    count
        How many of them.
    plot
        Draw the heat map of the one text into this PNG file.
    """
    client = cli.client_of(server, model, run)
    used = model if client else cli.shipped_unless_named(model, run, "sentiment")
    cli.check_suffix("--plot", plot, ".png")
    if not 1 <= count <= MOST_UNITS:
        raise UserError(f"--count is {count}: expected 1 to {MOST_UNITS}")
    inputs = cli.texts_from(texts, file, encoding)
    if plot is not None and len(inputs) > 1:
        raise UserError(f"--plot draws one text, got {len(inputs)}: explain them one at a time")
    asked = ["explain", "prefixes", "units"]
    sources: dict[str, Any]
    told_by: Any
    if client is not None:
        used_name = f"on the server at '{server}'"
        sources = {name: client for name in asked if name == "explain" or client.has_signature("sentiment", name)}
        told_by = remote
    else:
        assert used is not None
        used_name = f"at '{used}'"
        sources = inference.open_signatures(used, run, "explain", wanted=asked[1:])
        told_by = inference
    functions = {"explain": told_by.explain, "prefixes": told_by.prefix_scores, "units": told_by.explain_units}
    telling = {name: functools.partial(functions[name], source) for name, source in sources.items()}
    if units and "units" not in telling:
        raise UserError(f"the model {used_name} was exported before there was --units: export its run again")
    if "prefixes" not in telling:
        tell(f"the model {used_name} does not tell P(positive) up to each token: for that, export its run again")
    for text in inputs:
        answer = telling["explain"](text)
        scores = telling["prefixes"](text) if "prefixes" in telling else None
        deciding = telling["units"](text, count) if units else {}
        rows = gate_map.gate_rows(answer)
        if plot is not None:
            title = f"{answer['label']}, P(positive) = {answer['score']:.3f}"
            states = {
                f"{unit_table.unit_name(unit)}  {unit['share']:+.3f}": unit["state"]
                for unit in deciding.get("units", ())
            }
            with told_if_unwritable("--plot", plot):
                gate_map.draw_heat_map(answer["tokens"], answer["polarity"], rows, title, plot, scores, states)
        if json:
            read = {} if scores is None else {"prefix_scores": [x if x >= 0 else None for x in scores.tolist()]}
            cli.print_json(
                {
                    "text": text.decode("utf-8", "replace"),
                    "label": answer["label"],
                    "score": float(answer["score"]),
                    "logit": float(answer["logit"]),
                    "bias": float(answer["bias"]),
                    "tokens": answer["tokens"],
                    "polarity": answer["polarity"].tolist(),
                    **read,
                    **{
                        name: answer[name].tolist()
                        for name in sorted(answer)
                        if name.startswith(("forward_", "backward_"))
                    },
                    **deciding,
                }
            )
        else:
            title = f"{answer['label']}  P(positive) = {answer['score']:.3f}  bias {answer['bias']:+.3f}"
            gate_map.print_table(answer["tokens"], answer["polarity"], rows, title, scores)
            if units:
                ngrams = {"n-grams": deciding["ngrams"]} if deciding["ngrams"] else {}  # a model may have none
                rest = {"other units": deciding["other_units"], **ngrams, "bias": answer["bias"]}
                unit_table.print_units(answer["tokens"], deciding["units"], rest)


@app.command
def export(
    *, run: cli.FinishedRun, to: cli.ExportFolder, precision: cli.ExportPrecision = "float32", json: cli.Json = False
) -> None:
    """Write a finished training run as the next version of a SavedModel."""
    version = exporting.export_run(RunFolder(run), to, precision)
    cli.print_version(version, json)
