"""Translation: train on sentence pairs, judge, translate, look inside and export."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from nlp_lstm import cli
from nlp_lstm.datasets.languages import file_language, language_code
from nlp_lstm.datasets.pairs import Pairs, load_judged, read_pairs
from nlp_lstm.errors import UserError
from nlp_lstm.files import told_if_unwritable
from nlp_lstm.notices import tell
from nlp_lstm.run_folder import RunFolder, as_started
from nlp_lstm.translation.limits import DEFAULT_ALPHA, DEFAULT_BEAM, DEFAULT_BETA, LARGEST_BEAM
from nlp_lstm.translation.settings import Settings
from nlp_lstm.visible import for_terminal

if TYPE_CHECKING:
    from nlp_lstm import local_workers
    from nlp_lstm.client import Client
    from nlp_lstm.pictures import attention_map
    from nlp_lstm.translation import export as exporting
    from nlp_lstm.translation import inference, remote
    from nlp_lstm.translation import train as training
else:
    local_workers = cli.LazyModule("nlp_lstm.local_workers", needs_tensorflow=False)
    attention_map = cli.LazyModule("nlp_lstm.pictures.attention_map", needs_tensorflow=False)
    exporting = cli.LazyModule("nlp_lstm.translation.export")
    inference = cli.LazyModule("nlp_lstm.translation.inference")
    remote = cli.LazyModule("nlp_lstm.translation.remote", needs_tensorflow=False)
    training = cli.LazyModule("nlp_lstm.translation.train")

RunsInstead = Annotated[list[Path] | None, Parameter(help="Use this training run instead, or several together.")]

app = App(name="translation", help=__doc__, version_flags=[])


@app.command
def train(
    *,
    run: cli.NewRun,
    data: str | None = None,
    source_file: str | None = None,
    target_file: str | None = None,
    extra_data: str | None = None,
    teacher_run: list[Path] | None = None,
    teacher_model: Path | None = None,
    back_translation_run: Path | None = None,
    workers: cli.LocalWorkers = None,
    settings: Annotated[Settings, Parameter(name="*")] = Settings(),  # noqa: B008
) -> None:
    """Train a model. Started again with the same flags after a kill, it goes on from the last whole epoch.

    Parameters
    ----------
    data
        `sample`, a folder of parallel files (train.en.gz, train.de.gz, val.en.gz ...; corpus.en-de.en,
        corpus.en-de.de), the prefix of two (folder/train), a table of a sentence, a tab and its translation a line
        (.txt, .tsv), pairs in CSV, JSON Lines or TMX, each also packed, or the name of a TensorFlow dataset such as
        `ted_hrlr_translate/pt_to_en`.
    source_file
        Instead of --data, with --target-file: sentences, one a line.
    target_file
        Their translations, line by line.
    extra_data
        Pairs of another source, named as for --data, to train on beside these in the first --extra-epochs: their
        training part, without what stands in the validation data.
    teacher_run
        A finished run, or several: their translations of the training sentences, made together, are trained on beside
        the data's, for one model that is nearly as good as all of them together.
    teacher_model
        Instead of runs an exported model, a SavedModel or a folder of versions of one, as teacher.
    back_translation_run
        A finished run the other way round, from the target language: what it makes of the training targets is trained
        on as well, as sources of them that are tagged, so that the model can tell them from written ones.
    """
    with RunFolder(run).being_written() as folder:
        local_workers.train_together(
            workers,
            lambda together: training.train(
                data,
                folder,
                settings,
                source_file,
                target_file,
                extra_data,
                teacher_run or [],
                teacher_model,
                back_translation_run,
                workers=together,
            ),
        )


@app.command
def evaluate(
    *,
    data: str | None = None,
    split: Literal["train", "validation", "test", "all"] = "validation",
    source_file: str | None = None,
    target_file: str | None = None,
    source_language: str | None = None,
    target_language: str | None = None,
    source_column: str | None = None,
    target_column: str | None = None,
    header: bool | None = None,
    reverse: bool | None = None,
    validation_fraction: float | None = None,
    seed: int | None = None,
    encoding: str | None = None,
    model: cli.Model = None,
    run: list[Path] | None = None,
    beam_size: int = DEFAULT_BEAM,
    length_penalty: float | None = None,
    coverage_penalty: float | None = None,
    json: cli.Json = False,
) -> None:
    """Judge a model: BLEU and chrF on the text as it is, and BLEU on lower-case tokens.

    Parameters
    ----------
    data
        As for `train`. The sentences of a table count once each, all their translations being right.
    split
        Which part of --data to judge on; `all` judges every pair.
    source_file
        Instead of --data, with --target-file: sentences, one a line.
    target_file
        Their translations, line by line.
    source_language
        As for `train`; where this and the next eight are not named, they are those of --run.
    target_language
        As for `train`; its rules split the text into tokens for `bleu_lower_tok`, which is left out where nothing tells
        the language: neither this, the data or its files' names, nor --run.
    source_column
        As for `train`.
    target_column
        As for `train`.
    header
        As for `train`.
    reverse
        As for `train`.
    validation_fraction
        As for `train`.
    seed
        As for `train`.
    encoding
        As for `train`.
    run
        Judge this training run instead, or several together, and keep the figures in the first for the model card.
    beam_size
        Translations under way at once.
    length_penalty
        For runs: 0 takes the likeliest translation, more favours longer ones.
    coverage_penalty
        For runs: more favours translations that look at all of the source.
    """
    alpha, beta = _penalties(length_penalty, coverage_penalty, run)
    _check_beam(beam_size)
    model = cli.shipped_unless_named(model, run, "translation")
    how = as_started(
        run[0] if run else None,
        Settings(),
        source_language=source_language,
        target_language=target_language,
        source_column=source_column,
        target_column=target_column,
        header=header,
        reverse=reverse,
        validation_fraction=validation_fraction,
        seed=seed,
        encoding=encoding,
    )
    if source_file or target_file:
        if data or not (source_file and target_file):
            raise UserError("name either --data, or both --source-file and --target-file")
        if how["source_column"] or how["target_column"]:
            raise UserError("--source-column and --target-column are for tables of pairs: --source-file has no columns")
        name, split_name = source_file, "file"
        pairs = read_pairs(source_file, target_file, how["encoding"])
        sources, references = _each_alone(pairs)
        language = target_language or file_language(target_file) or how["target_language"]
    else:
        name, split_name = str(data), split
        loaded = load_judged(data, split, **how)
        pairs = loaded.splits[split]
        sources, references = inference.with_all_references(pairs) if loaded.is_one_table else _each_alone(pairs)
        language = target_language or loaded.languages[1] or how["target_language"]
    opened = inference.TranslationModel(model, run or [], alpha, beta)
    figures = inference.evaluate(opened, sources, references, _rules_of(language), beam_size)
    result = {"data": name, "split": split_name, **figures}
    if run:
        RunFolder(run[0]).keep_evaluation(result)
    if json:
        cli.print_json(result)
        return
    by_length = result.pop("bleu_by_length")
    cli.print_figures(result)
    for bucket in by_length:
        bleu = "" if bucket["bleu"] is None else f"{bucket['bleu']:.2f}"
        print(f"{bucket['words'] + ' words':12} {bucket['sentences']:6} sentences {bleu:>7}")


def _each_alone(pairs: Pairs) -> tuple[list[str], list[list[str]]]:
    return pairs.source, [[target] for target in pairs.target]


def _rules_of(language: str) -> str | None:
    """The code of the language by whose rules text is split into tokens; None, which is told, where it is not known."""
    code = language_code(language) or language.lower()
    if not re.fullmatch("[a-z]{2,3}", code):
        why = f"{language!r} is no code such as 'de'" if language else "nothing tells which it is"
        tell(f"bleu_lower_tok is left out, since its tokens depend on the target language and {why}: --target-language")
        return None
    return code


def _penalties(
    length_penalty: float | None, coverage_penalty: float | None, run: list[Path] | None
) -> tuple[float, float]:
    given = {"--length-penalty": length_penalty, "--coverage-penalty": coverage_penalty}
    for flag, value in given.items():
        if value is not None and not run:
            raise UserError(f"{flag} is part of an exported model: leave it out, or name a --run")
        if value is not None and not 0 <= value <= 10:
            raise UserError(f"{flag} is {value}: expected 0 to 10")
    return (
        DEFAULT_ALPHA if length_penalty is None else length_penalty,
        DEFAULT_BETA if coverage_penalty is None else coverage_penalty,
    )


def _check_beam(beam_size: int) -> None:
    if not 1 <= beam_size <= LARGEST_BEAM:
        raise UserError(f"--beam-size is {beam_size}: expected 1 (greedy) to {LARGEST_BEAM}")


def _opened(client: "Client | None", model: Path | None, run: list[Path] | None) -> Any:
    """The model to use, in this process or at a server: a `TranslationModel` or a `RemoteTranslationModel`."""
    if client is not None:
        return remote.RemoteTranslationModel(client)
    assert model is not None
    return inference.TranslationModel(model, run or [])


@app.command
def translate(
    *texts: cli.Texts,
    file: cli.TextFile = None,
    encoding: cli.Encoding = "",
    beam_size: int = DEFAULT_BEAM,
    n_best: int = 1,
    model: cli.Model = None,
    run: RunsInstead = None,
    server: cli.Server = None,
    json: cli.JsonLines = False,
) -> None:
    """Translate texts: a line for each, in their order, empty ones empty.

    Parameters
    ----------
    beam_size
        Translations under way at once; 1 is greedy.
    n_best
        Print so many different translations of each text, each behind the number of the text and its score.
    """
    _check_beam(beam_size)
    if not 1 <= n_best <= beam_size:
        raise UserError(f"--n-best is {n_best}: expected 1 to --beam-size, which is {beam_size}")
    client = cli.client_of(server, model, run)
    model = model if client else cli.shipped_unless_named(model, run, "translation")
    inputs = cli.texts_from(texts, file, encoding)
    opened = _opened(client, model, run)
    for number, (given, found) in enumerate(zip(inputs, opened.translate(inputs, beam_size), strict=True), start=1):
        if json:
            best = {"translation": found[0].text, "score": found[0].score}
            listed = [{"translation": each.text, "score": each.score} for each in found[:n_best]]
            others = {"n_best": listed} if n_best > 1 else {}
            cli.print_json({"text": given.decode("utf-8", "replace"), **best, **others})
        elif n_best > 1:
            for each in found[:n_best]:
                cli.print_text(f"{number}\t{each.score:.4f}\t{each.text}")
        else:
            cli.print_text(found[0].text)


@app.command
def explain(
    *texts: cli.Texts,
    file: cli.TextFile = None,
    encoding: cli.Encoding = "",
    plot: Path | None = None,
    html: Path | None = None,
    model: cli.Model = None,
    run: RunsInstead = None,
    server: cli.Server = None,
    json: cli.JsonLines = False,
) -> None:
    """Show what the model looked at for each piece of its translation.

    Parameters
    ----------
    plot
        Draw the attention of the one text into this PNG file.
    html
        Write a page with the attention of all texts into this HTML file.
    """
    client = cli.client_of(server, model, run)
    model = model if client else cli.shipped_unless_named(model, run, "translation")
    cli.check_suffix("--plot", plot, ".png")
    cli.check_suffix("--html", html, ".html")
    inputs = cli.texts_from(texts, file, encoding)
    if plot is not None and len(inputs) > 1:
        raise UserError(f"--plot draws one text, got {len(inputs)}: name --html for a page with all of them")
    opened = _opened(client, model, run)
    answers: list[tuple[Any, attention_map.AttendedTranslation]] = [opened.explain(given) for given in inputs]
    if plot is not None:
        translation, attended = answers[0]
        with told_if_unwritable("--plot", plot):
            attention_map.draw_attention(*attended, plot, title=translation.text)
    if html is not None:
        with told_if_unwritable("--html", html):
            attention_map.write_attention_html([attended for _, attended in answers], "Attention", html)
    for given, (translation, attended) in zip(inputs, answers, strict=True):
        if json:
            cli.print_json(
                {
                    "text": given.decode("utf-8", "replace"),
                    "translation": translation.text,
                    "score": translation.score,
                    "source_pieces": attended.source,
                    "target_pieces": attended.target,
                    "attention": [[round(float(weight), 5) for weight in row] for row in attended.attention],
                }
            )
        else:
            print(for_terminal(translation.text))
            attention_map.print_attention(*attended)


@app.command
def export(
    *,
    run: list[Path],
    to: cli.ExportFolder,
    length_penalty: float = DEFAULT_ALPHA,
    coverage_penalty: float = DEFAULT_BETA,
    precision: cli.ExportPrecision = "float32",
    json: cli.Json = False,
) -> None:
    """Write a finished training run, or several together, as the next version of a SavedModel.

    Parameters
    ----------
    run
        The run's folder; several with the same subwords are averaged in use.
    length_penalty
        As for `evaluate`.
    coverage_penalty
        As for `evaluate`.
    """
    alpha, beta = _penalties(length_penalty, coverage_penalty, run)
    version = exporting.export_runs(run, to, alpha, beta, precision)
    cli.print_version(version, json)
