"""Character language modelling: train on running text, judge, write, score, look inside and export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from nlp_lstm import cli
from nlp_lstm.char_lm.generation import Generation
from nlp_lstm.char_lm.limits import Gate, PropertyName
from nlp_lstm.char_lm.settings import Settings
from nlp_lstm.errors import UserError
from nlp_lstm.files import told_if_unwritable
from nlp_lstm.run_folder import RunFolder, as_started

if TYPE_CHECKING:
    import numpy as np

    from nlp_lstm import local_workers
    from nlp_lstm.char_lm import export as exporting
    from nlp_lstm.char_lm import inference, looking, remote, text_properties, writing
    from nlp_lstm.char_lm import train as training
    from nlp_lstm.client import Client
    from nlp_lstm.pictures import activity_map
else:
    local_workers = cli.LazyModule("nlp_lstm.local_workers", needs_tensorflow=False)
    np = cli.LazyModule("numpy", needs_tensorflow=False)
    exporting = cli.LazyModule("nlp_lstm.char_lm.export")
    inference = cli.LazyModule("nlp_lstm.char_lm.inference")
    looking = cli.LazyModule("nlp_lstm.char_lm.looking", needs_tensorflow=False)
    remote = cli.LazyModule("nlp_lstm.char_lm.remote", needs_tensorflow=False)
    text_properties = cli.LazyModule("nlp_lstm.char_lm.text_properties", needs_tensorflow=False)
    writing = cli.LazyModule("nlp_lstm.char_lm.writing")
    training = cli.LazyModule("nlp_lstm.char_lm.train")
    activity_map = cli.LazyModule("nlp_lstm.pictures.activity_map", needs_tensorflow=False)

app = App(name="char_lm", help=__doc__, version_flags=[])


@app.command
def train(
    *,
    data: str,
    run: cli.NewRun,
    teacher_run: list[Path] | None = None,
    workers: cli.LocalWorkers = None,
    settings: Annotated[Settings, Parameter(name="*")] = Settings(),  # noqa: B008
) -> None:
    """Train a model. Started again with the same flags after a kill, it goes on from the last whole epoch.

    Parameters
    ----------
    teacher_run
        A finished run on the same text, or several: what they guess at each place, in the mean, is learnt beside the
        text, for one model that is nearly as good as all of them together.
    data
        `sample`, `stdlib` (the sources of Python's standard library on this machine), a text file or a folder of them
        (also .gz, .bz2, .xz), or the name of a TensorFlow dataset such as `tiny_shakespeare`.
    """
    with RunFolder(run).being_written() as folder:
        local_workers.train_together(
            workers, lambda together: training.train(data, folder, settings, together, teacher_run or [])
        )


@app.command
def evaluate(
    *,
    data: str,
    split: Literal["train", "validation", "test", "all"] = "validation",
    model: cli.Model = None,
    run: cli.JudgedRun = None,
    line_mode: bool | None = None,
    validation_fraction: float | None = None,
    encoding: str | None = None,
    dynamic: bool = False,
    json: cli.Json = False,
) -> None:
    """Judge a model on a split of a text.

    Parameters
    ----------
    data
        As for `train`.
    split
        Which part to judge on; of a single file there is a validation part, its end, and `all`, the whole.
    line_mode
        As for `train`; where it is not named, as of --run.
    validation_fraction
        Likewise.
    encoding
        Likewise.
    dynamic
        Also let the model learn from the text as it goes, which is another figure; needs --run.
    """
    model = cli.shipped_unless_named(model, run, "char_lm")
    how = as_started(run, Settings(), line_mode=line_mode, validation_fraction=validation_fraction, encoding=encoding)
    result = inference.evaluate(inference.CharLm(model, run), data, split, **how, dynamic=dynamic)
    if run is not None:
        RunFolder(run).keep_evaluation(result)
    if json:
        cli.print_json(result)
        return
    cli.print_figures(result)


def _opened(client: "Client | None", model: Path | None, run: Path | None) -> Any:
    """The model to use, in this process or at a server: a `CharLm` or a `RemoteCharLm`, which are used alike."""
    if client is not None:
        return remote.RemoteCharLm(client)
    assert model is not None
    return inference.CharLm(model, run)


@app.command
def generate(
    *,
    prompt: str = "",
    file: Path | None = None,
    encoding: str = "",
    length: int = Generation().length,
    temperature: float = Generation().temperature,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    samples: int = 1,
    stop: str = "",
    beam: int = 0,
    model: cli.Model = None,
    run: cli.Run = None,
    server: cli.Server = None,
    json: cli.JsonLines = False,
) -> None:
    """Go on with a prompt.

    Parameters
    ----------
    prompt
        What to go on with; without one the text begins at the beginning of a line.
    file
        A file with the prompt; a newline at its very end is not part of it.
    encoding
        Encoding of the file, such as `cp1252`; by default UTF-8. A byte order mark overrules it.
    length
        Characters (of a model of bytes: bytes) to write.
    temperature
        Above 1 more daring, below 1 less; 0 always takes the likeliest.
    top_k
        Draw from so many likeliest characters alone; 0 for all.
    top_p
        Draw from the likeliest characters that make up this probability alone; 1 for all.
    seed
        Settles the text; the second sample has the next seed, and so on.
    samples
        How many texts to write.
    stop
        End before this string.
    beam
        Do not draw, but look for the likeliest continuation with a beam of this size.
    """
    how = Generation(length, temperature, top_k, top_p, seed, samples, beam)
    how.check()
    if beam and (samples > 1 or stop):
        raise UserError("--beam finds one text of the length asked for: leave out --samples and --stop")
    client = cli.client_of(server, model, run)
    model = model if client else cli.shipped_unless_named(model, run, "char_lm")
    read = cli.text_from((prompt,) if prompt or file is None else (), file, encoding).decode("utf-8", "replace")
    opened = _opened(client, model, run)
    unknown = {character for character in set(read) if not opened.knows(character)}
    if unknown:
        told = " ".join(sorted(repr(character) for character in unknown)[:10])
        cli.tell(f"the model does not know {told} and reads something unknown there")
    if beam or (json and not stop):
        prompt_bytes = read.encode("utf-8")
        answers = opened.generate(prompt_bytes, how) if client else inference.generate(opened, prompt_bytes, how)
        for answer in answers:
            if json:
                cli.print_json({"prompt": read, **answer})
            else:
                cli.print_text(answer["text"])
        return
    writer = opened if client else writing.Writer(opened.signatures)
    for number in range(samples):
        if samples > 1 and not json:
            print(f"== seed {seed + number}")
        pieces = [read]
        if not json:
            cli.print_text(read, end="")
        for piece in writer.write(read, length, temperature, top_k, top_p, seed + number, stop):
            pieces.append(piece)
            if not json:
                cli.print_text(piece, end="")
        if json:
            cli.print_json({"prompt": read, "text": "".join(pieces), "seed": seed + number})
        else:
            print()


@app.command
def score(
    *texts: cli.Texts,
    file: cli.TextFile = None,
    encoding: cli.Encoding = "",
    model: cli.Model = None,
    run: cli.Run = None,
    server: cli.Server = None,
    json: cli.JsonLines = False,
) -> None:
    """Tell how likely the model finds each character of texts, after those before it."""
    client = cli.client_of(server, model, run)
    model = model if client else cli.shipped_unless_named(model, run, "char_lm")
    inputs = cli.texts_from(texts, file, encoding)
    opened = _opened(client, model, run)
    for given in inputs:
        text = given.decode("utf-8", "replace")
        log_probs = opened.log_probs(text)
        bits = float(-np.mean(log_probs) / np.log(2)) if len(log_probs) else 0.0
        if json:
            cli.print_json(
                {
                    "text": text,
                    "bits_per_char": bits,
                    "length": len(log_probs),
                    "symbols": opened.split(text),
                    "char_log_probs": [round(float(value), 6) for value in log_probs],
                }
            )
            continue
        print(f"{bits:6.3f} bits per {opened.symbols.unit}  ", end="")
        if text:
            activity_map.print_activity(opened.split(text), np.exp(log_probs), scale="sequential")
        else:
            print()


@app.command
def explain(
    *texts: str,
    file: Path | None = None,
    encoding: str = "",
    gate: Gate = "cell",
    units: str = "",
    follow: PropertyName | None = None,
    count: int = 5,
    data: str | None = None,
    line_mode: bool = False,
    plot: Path | None = None,
    html: Path | None = None,
    model: cli.Model = None,
    run: cli.Run = None,
    server: cli.Server = None,
    json: cli.Json = False,
) -> None:
    """Show what units do while a text is read, and find those that follow a property of it.

    Parameters
    ----------
    texts
        The text; without it that of --file or of standard input.
    file
        A text file.
    encoding
        Encoding of the file, of standard input and of --data, such as `cp1252`; by default UTF-8. A byte order mark
        overrules it.
    gate
        What to show of a unit: a gate, the candidate, the hidden state, or the tanh of the cell state.
    units
        Numbers of units between commas, the first layer's first; without them and --follow those that move most.
    follow
        Find the units that follow this property best.
    count
        How many units to find.
    data
        Look for them in the validation part of this source (as for `train`) instead of in the text.
    line_mode
        As for `train`, for --data.
    plot
        Draw a heat map of the text into this PNG file.
    html
        Write a page into this HTML file, in which pointing at a character tells its values.
    """
    client = cli.client_of(server, model, run)
    model = model if client else cli.shipped_unless_named(model, run, "char_lm")
    cli.check_suffix("--plot", plot, ".png")
    cli.check_suffix("--html", html, ".html")
    text = cli.text_from(texts, file, "" if texts and data else encoding).decode("utf-8", "replace")
    opened = _opened(client, model, run)
    shown = looking.rows_to_show(opened, text, gate, units, follow, count, data, line_mode, encoding)
    symbols, title = opened.split(text), f"{gate} of the units {', '.join(str(unit) for unit in shown.units)}"
    if plot is not None:
        with told_if_unwritable("--plot", plot):
            activity_map.draw_activity(symbols, shown.rows, title, plot, scale=shown.scale)
    if html is not None:
        with told_if_unwritable("--html", html):
            activity_map.write_html(
                symbols, shown.rows, title, html, text_properties.properties_of(symbols), scale=shown.scale
            )
    if json:
        cli.print_json(
            {
                "text": text,
                "gate": gate,
                "symbols": symbols,
                "units": [
                    {"unit": unit, **found, "activity": [round(float(value), 5) for value in values]}
                    for unit, found, values in zip(shown.units, shown.found, shown.rows.values(), strict=True)
                ],
            }
        )
        return
    if follow:
        print(f"units that follow {follow}, found on the first half of {shown.searched} and judged on the second")
    for name, found, values in zip(shown.rows, shown.found, shown.rows.values(), strict=True):
        figures = "".join(f"  {key} {value:+.3f}" for key, value in found.items() if value is not None)
        print(f"{name}{figures}")
        activity_map.print_activity(symbols, values, scale=shown.scale)


@app.command
def export(
    *, run: cli.FinishedRun, to: cli.ExportFolder, precision: cli.ExportPrecision = "float32", json: cli.Json = False
) -> None:
    """Write a finished training run as the next version of a SavedModel."""
    version = exporting.export_run(RunFolder(run), to, precision)
    cli.print_version(version, json)
