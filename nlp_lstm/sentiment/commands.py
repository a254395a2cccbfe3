"""Sentiment analysis: train on labelled reviews, judge, use, look inside and export."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from nlp_lstm import cli
from nlp_lstm.datasets.review_table import TableFormat
from nlp_lstm.datasets.reviews import Part
from nlp_lstm.errors import UserError
from nlp_lstm.files import told_if_unwritable

cli.import_tensorflow_quietly()

from nlp_lstm.pictures import gate_map
from nlp_lstm.run_folder import RunFolder, as_started
from nlp_lstm.sentiment import inference
from nlp_lstm.sentiment.export import export_run
from nlp_lstm.sentiment.settings import Settings
from nlp_lstm.sentiment.train import train as train_run

SHIPPED = cli.SHIPPED_MODELS / "sentiment"

app = App(name="sentiment", help=__doc__, version_flags=[])


@app.command
def train(
    *,
    data: str,
    run: Path,
    settings: Annotated[Settings, Parameter(name="*")] = Settings(),  # noqa: B008
) -> None:
    """Train a classifier. Started again with the same flags after a kill, it goes on from the last whole epoch.

    Parameters
    ----------
    data
        `sample`, a file or folder of reviews, or the name of a TensorFlow dataset such as `imdb_reviews`.
    run
        Folder for settings, checkpoints, metrics.jsonl, TensorBoard events and curves.png.
    """
    train_run(data, RunFolder(run), settings)


@app.command
def evaluate(
    *,
    data: str,
    split: Part = "test",
    model: Path = SHIPPED,
    run: Path | None = None,
    validation_fraction: float | None = None,
    seed: int | None = None,
    encoding: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    labels: str | None = None,
    header: bool | None = None,
    plots: Path | None = None,
    json: bool = False,
) -> None:
    """Judge a model on labelled texts.

    Parameters
    ----------
    data
        As for `train`.
    split
        Which texts to judge on. Of a single table the test part is a tenth; `all` judges every row.
    model
        A SavedModel, or a folder of versions of which the latest counts.
    run
        Judge this training run instead, and keep the figures in it for the model card.
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
    json
        Print one JSON object.
    """
    signature = inference.open_signature(model, run)
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
    result = inference.evaluate(signature, data, split, plots=plots, table=table, **how)
    if run is not None:
        RunFolder(run).keep_evaluation(result)
    if json:
        cli.print_json(result)
        return
    for key, value in result.items():
        if key != "accuracy_by_length":
            print(f"{key:27} {value:.4f}" if isinstance(value, float) else f"{key:27} {value}")
    print("accuracy by length in tokens")
    for row in result["accuracy_by_length"]:
        print(f"  {row['tokens']:>9}  {row['accuracy']:.4f}  ({row['examples']} texts)")


@app.command
def predict(
    *texts: str,
    file: Path | None = None,
    encoding: str = "",
    model: Path = SHIPPED,
    run: Path | None = None,
    json: bool = False,
) -> None:
    """Tell the sentiment of texts.

    Parameters
    ----------
    texts
        The texts; without them the lines of --file or of standard input.
    file
        A text a line.
    encoding
        Encoding of the file, or of standard input, such as `cp1252`; by default UTF-8. A byte order mark overrules it.
    model
        A SavedModel, or a folder of versions of which the latest counts.
    run
        Use this training run instead.
    json
        Print one JSON object a text.
    """
    inputs = cli.texts_from(texts, file, encoding)
    answer = inference.predict(inference.open_signature(model, run), inputs)
    for text, label, score in zip(inputs, answer["label"], answer["score"], strict=True):
        shown = text.decode("utf-8", "replace")
        if json:
            cli.print_json({"text": shown, "label": label.decode(), "score": float(score)})
        else:
            print(f"{label.decode()}  {score:.3f}  {shown}")


@app.command
def explain(
    *texts: str,
    file: Path | None = None,
    encoding: str = "",
    model: Path = SHIPPED,
    run: Path | None = None,
    plot: Path | None = None,
    json: bool = False,
) -> None:
    """Show each token's share of the verdict and how far the gates stood open at it.

    Parameters
    ----------
    texts
        The texts; without them the lines of --file or of standard input.
    file
        A text a line.
    encoding
        Encoding of the file, or of standard input, such as `cp1252`; by default UTF-8. A byte order mark overrules it.
    model
        A SavedModel, or a folder of versions of which the latest counts.
    run
        Use this training run instead.
    plot
        Draw the heat map of the one text into this PNG file.
    json
        Print one JSON object a text.
    """
    inputs = cli.texts_from(texts, file, encoding)
    if plot is not None and len(inputs) > 1:
        raise UserError(f"--plot draws one text, got {len(inputs)}: explain them one at a time")
    if plot is not None and plot.suffix.lower() != ".png":
        raise UserError(f"--plot writes PNG, got '{plot}': name a file that ends in .png")
    signature = inference.open_signature(model, run, "explain")
    for text in inputs:
        answer = inference.explain(signature, text)
        rows = gate_map.gate_rows(answer, len(answer["tokens"]))
        if plot is not None:
            title = f"{answer['label']}, P(positive) = {answer['score']:.3f}"
            with told_if_unwritable("--plot", plot):
                gate_map.draw_heat_map(answer["tokens"], answer["polarity"], rows, title, plot)
        if json:
            cli.print_json(
                {
                    "text": text.decode("utf-8", "replace"),
                    "label": answer["label"],
                    "score": float(answer["score"]),
                    "logit": float(answer["logit"]),
                    "bias": float(answer["bias"]),
                    "tokens": answer["tokens"],
                    "polarity": answer["polarity"].tolist(),
                    **{
                        name: answer[name][: len(answer["tokens"])].tolist()
                        for name in sorted(answer)
                        if name.startswith(("forward_", "backward_"))
                    },
                }
            )
        else:
            title = f"{answer['label']}  P(positive) = {answer['score']:.3f}  bias {answer['bias']:+.3f}"
            gate_map.print_table(answer["tokens"], answer["polarity"], rows, title)


@app.command
def export(*, run: Path, to: Path = SHIPPED, json: bool = False) -> None:
    """Write a finished training run as the next version of a SavedModel.

    Parameters
    ----------
    run
        The run's folder.
    to
        The model's folder; the next free version number is made below it.
    json
        Print one JSON object.
    """
    version = export_run(RunFolder(run), to)
    if json:
        cli.print_json({"version": str(version)})
    else:
        print(version)
