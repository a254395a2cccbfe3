"""Sentence pairs for translation, the same whatever the source.

One file a source kind: `parallel_files`, `pair_table` (which the packaged sample is, too), `pair_csv`, `pair_jsonl`,
`pair_tmx`, `tfds_pairs`. `load_source` chooses among them.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from itertools import chain, compress
from pathlib import Path
from typing import Any

from nlp_lstm.datasets import pair_csv, pair_jsonl, pair_table, pair_tmx, parallel_files, tfds_pairs
from nlp_lstm.datasets.compressed import reason
from nlp_lstm.datasets.languages import file_language
from nlp_lstm.datasets.pair_columns import FilePairs, PairFormat
from nlp_lstm.datasets.pair_records import Pairs, SourcePairs, direction
from nlp_lstm.datasets.parallel_files import read_pairs
from nlp_lstm.datasets.review_records import text_group
from nlp_lstm.datasets.splits import held_out_groups
from nlp_lstm.datasets.text_files import decode
from nlp_lstm.datasets.tfds_source import NAME
from nlp_lstm.errors import UserError
from nlp_lstm.notices import tell

__all__ = ["SPLITS", "Pairs", "load_judged", "load_pairs", "load_source", "read_pairs"]

_PACKED_SUFFIXES = (".gz", ".bz2", ".xz")
SPLITS = ("train", "validation", "test")

_SAMPLE_LANGUAGES = ("en", "de")
_KINDS = (
    f"a folder with {parallel_files.LAYOUT}, the prefix of two such files (folder/train), a table of a sentence, a "
    "tab and its translation a line (.txt, .tsv, .tab), or pairs in .csv, .jsonl or .tmx (all also .gz, .bz2, .xz)"
)
_READERS: dict[Callable[[Path, PairFormat], FilePairs], tuple[str, ...]] = {
    pair_table.read_table: pair_table.SUFFIXES,
    pair_csv.read: pair_csv.SUFFIXES,
    pair_jsonl.read: pair_jsonl.SUFFIXES,
    pair_tmx.read: pair_tmx.SUFFIXES,
}


def load_source(
    source: str | os.PathLike[str] | None,
    splits: Sequence[str],
    *,
    source_language: str = "",
    target_language: str = "",
    source_file: str | os.PathLike[str] | None = None,
    target_file: str | os.PathLike[str] | None = None,
    source_column: str = "",
    target_column: str = "",
    header: bool | None = None,
    reverse: bool = False,
    validation_fraction: float = 0.05,
    seed: int = 0,
    encoding: str = "",
) -> SourcePairs:
    """Read splits of a source of sentence pairs.

    >>> found = load_source("sample", ["train", "test"])
    >>> len(found.splits["train"].source), len(found.splits["test"].target), found.languages
    (320, 40, ('en', 'de'))

    Args:
        source: One of

            - "sample": the English and German pairs in this package (a file of that name is "./sample");
            - a folder with a file for each split and language, such as train.en.gz (`parallel_files.read_folder`);
            - a prefix: "folder/train" for the files folder/train.en and folder/train.de, all of which is train;
            - a table of a sentence, a tab and its translation a line (`pair_table`), pairs in CSV (`pair_csv`), JSON
              Lines (`pair_jsonl`) or TMX (`pair_tmx`), plain or packed;
            - a TensorFlow Datasets name, such as "ted_hrlr_translate/pt_to_en" or "wmt16_translate/de-en";
            - None, where `source_file` and `target_file` are named.
        splits: The splits to return: "train", "validation", "test", or "all" for these together, nothing cut off. Name
            them together, the source is read at each call.
        source_language: The language to translate from, as the source calls it. A folder, a prefix and a TensorFlow
            Datasets set are read by it; where there are two languages, naming one is enough, and a TensorFlow Datasets
            set has a direction of its own. In one file it chooses among columns, or what TMX holds, where they have
            the names of languages; to others and to two named files it is a mere label.
        target_language: The language to translate into, likewise.
        source_file: With `target_file`: two parallel files, all of which is train.
        target_file: The translations of `source_file`, line by line.
        source_column: The column of a table, or of JSON Lines, that holds the sentences (`PairFormat`).
        target_column: That of the translations.
        header: Whether the first row of a table names the columns; None to go by what stands in it.
        reverse: Swap the columns of a table, or of the sample. Elsewhere it is a mistake: languages and files tell the
            direction.
        validation_fraction: The share of train cut off for validation, between 0 and 0.5. That is done whether or not
            "validation" is asked for, so train is the same either way. A source with a validation split of its own
            keeps that. Of a table this share becomes validation and the same share test.
        seed: Another seed cuts off other sentences for validation. The test split never depends on it.
        encoding: That of files, as in `encodings.decode`; the sample and TensorFlow Datasets sets have their own.

    Returns:
        The pairs of each split, not empty and in the order of the source, and the languages, as far as the source tells
        them. What is cut off is cut by source sentence, white space at its ends aside: all translations of one are in
        one split, whichever the order of the pairs. From training data, before a cut, pairs with nothing but white
        space on a side are left out, and counted on standard error; validation and test splits of the source's own keep
        them.

    Raises:
        UserError: No such source, one that cannot be read or understood, no one way to choose the languages, or a split
            without pairs.
    """
    for split in splits:
        if split not in (*SPLITS, "all"):
            raise UserError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}, all")
    if not 0 < validation_fraction < 0.5:
        raise UserError(f"validation_fraction is {validation_fraction}: expected more than 0 and less than 0.5")
    if source_language and source_language == target_language:
        raise UserError(f"source and target language are both {source_language!r}: name two languages")
    languages = (source_language, target_language)

    needed = set(SPLITS if "all" in splits else splits)
    if needed & {"train", "validation"}:
        needed |= {"train", "validation"}
    told = PairFormat(source_column, target_column, header, source_language, target_language, reverse, encoding)
    if source_file or target_file:
        name, loaded = _read_files(source, source_file, target_file, told)
    elif not source:
        raise UserError(f"no data is named: expected 'sample', {_KINDS}, or --source-file and --target-file")
    else:
        name = os.fspath(source)
        reader = _reader(name)
        if reader is None and (source_column or target_column or header is not None):
            raise UserError(
                f"{name!r} has no columns: leave --source-column, --target-column, --header and --no-header out"
            )
        if name == "sample":
            loaded = _read_sample(languages, reverse)
        elif reader:
            pairs, of_file = reader(Path(name), told)
            loaded = SourcePairs(_in_three(_without_empty_sides(name, pairs), validation_fraction, seed), of_file, True)
        else:
            loaded = _read(name, [split for split in SPLITS if split in needed], languages, reverse, encoding)
    found = dict(loaded.splits)
    if "train" in found and not loaded.is_one_table:
        found["train"] = _without_empty_sides(name, found["train"])
    own = [found[split] for split in SPLITS if split in found]
    if "train" in found and "validation" not in found:
        found["train"], found["validation"] = _cut(found["train"], validation_fraction, seed)
    if "all" in splits:
        source_sentences, target_sentences = (list(chain.from_iterable(sides)) for sides in zip(*own, strict=True))
        found["all"] = Pairs(source_sentences, target_sentences)
    for split in splits:
        _check(name, split, found)
    return loaded._replace(splits={split: found[split] for split in splits})


def load_pairs(source: str | os.PathLike[str] | None, splits: Sequence[str], **how: Any) -> dict[str, Pairs]:
    """The splits of `load_source`, whose other arguments are `how`.

    >>> pairs = load_pairs("sample", ["train", "test"])
    >>> len(pairs["train"].source), len(pairs["test"].target)
    (320, 40)
    """
    return load_source(source, splits, **how).splits


def load_judged(source: str | os.PathLike[str] | None, split: str, **how: Any) -> SourcePairs:
    """The pairs to judge a model on: the one split of `load_source`, whose other arguments are `how`.

    >>> len(load_judged("sample", "test").splits["test"].source)
    40

    Of a table a part is cut off, which the person may not know: how many of how many pairs that is is told on standard
    error.
    """
    is_part = bool(source) and source != "sample" and split != "all" and os.path.isfile(str(source))
    loaded = load_source(source, [split, "all"] if is_part else [split], **how)
    if is_part:
        tell(
            f"{str(source)!r}: judging {len(loaded.splits[split].source):,} of {len(loaded.splits['all'].source):,} "
            f"pairs, the part cut off for the split {split!r}: --split all judges every pair"
        )
    return loaded


def _reader(name: str) -> Callable[[Path, PairFormat], FilePairs] | None:
    """What reads a file of pairs, by its name."""
    plain = name.lower()
    for packed in _PACKED_SUFFIXES:
        plain = plain.removesuffix(packed)
    if name == "sample" or not os.path.isfile(name):
        return None
    return next((reader for reader, suffixes in _READERS.items() if plain.endswith(suffixes)), None)


def _read_files(
    source: str | os.PathLike[str] | None,
    source_file: str | os.PathLike[str] | None,
    target_file: str | os.PathLike[str] | None,
    told: PairFormat,
) -> tuple[str, SourcePairs]:
    """The name of two parallel files for messages, and their pairs."""
    if source:
        raise UserError(f"there are both {os.fspath(source)!r} and --source-file or --target-file: leave one out")
    if not source_file or not target_file:
        missing, given = ("--target-file", source_file) if source_file else ("--source-file", target_file)
        raise UserError(f"{os.fspath(given or '')!r} has no partner: name it with {missing}")
    if told.reverse:
        raise UserError("--reverse is for tables of pairs: swap --source-file and --target-file instead")
    if told.source_column or told.target_column:
        raise UserError("--source-column and --target-column are for tables of pairs: --source-file has no columns")
    pairs = read_pairs(source_file, target_file, told.encoding)
    languages = (
        told.source_language or file_language(source_file),
        told.target_language or file_language(target_file),
    )
    return os.fspath(source_file), SourcePairs({"train": pairs}, languages)


def _read_sample(languages: tuple[str, str], reverse: bool) -> SourcePairs:
    default = (_SAMPLE_LANGUAGES[1], _SAMPLE_LANGUAGES[0]) if reverse else _SAMPLE_LANGUAGES
    if direction("sample", _SAMPLE_LANGUAGES, *languages, default) != default:
        change = "leave --reverse out" if reverse else "add --reverse"
        raise UserError(f"'sample' is from {default[0]!r} to {default[1]!r}: {change} for the other direction")
    name = "sample_pairs.tsv"
    content = resources.files("nlp_lstm.datasets").joinpath(name).read_bytes()
    # Cut before it is reversed: the test pairs are the same in both directions.
    parts = _in_three(pair_table.parse(decode(content), name).pairs, 0.1, seed=0)
    return SourcePairs({split: _swapped(pairs) if reverse else pairs for split, pairs in parts.items()}, default, True)


def _read(name: str, wanted: Sequence[str], languages: tuple[str, str], reverse: bool, encoding: str) -> SourcePairs:
    """The splits that a source of named languages has of its own; a prefix is all "train"."""
    path = Path(name)
    try:
        os.stat(name)
        exists = True
    except PermissionError as error:
        raise UserError(f"cannot read {name!r}: {reason(error)}: check its permissions") from error
    except (OSError, ValueError):  # a ValueError is a NUL in the name
        exists = False
    if exists and not path.is_dir():
        raise UserError(
            f"{name!r} is no table of pairs by its name: expected {_KINDS}; two parallel files are named with "
            "--source-file and --target-file"
        )
    by_prefix = None if exists else parallel_files.read_prefix(path, *languages, encoding)
    if not exists and by_prefix is None and not NAME.fullmatch(name):
        raise UserError(
            f"no such file or dataset {name!r}: expected 'sample', a TensorFlow Datasets name such as "
            f"{tfds_pairs.EXAMPLE!r}, {_KINDS}"
        )
    if reverse:
        raise UserError(
            f"--reverse is for tables of pairs: tell the direction of {name!r} by --source-language and "
            "--target-language"
        )
    if exists:
        return parallel_files.read_folder(path, wanted, *languages, encoding)
    return by_prefix or tfds_pairs.read(name, wanted, *languages)


def _in_three(pairs: Pairs, fraction: float, seed: int) -> dict[str, Pairs]:
    """Divide what has no splits of its own, `fraction` each for validation and test."""
    # Without the seed: the test pairs are the same for every run, or none of them would be unseen.
    rest, test = _cut(pairs, fraction, seed=0)
    train, validation = _cut(rest, fraction / (1 - fraction), seed)
    return {"train": train, "validation": validation, "test": test}


def _cut(pairs: Pairs, fraction: float, seed: int) -> tuple[Pairs, Pairs]:
    """The rest and a held-out share of the pairs, all pairs of a source sentence on one side."""
    groups = list(map(text_group, pairs.source))
    held_out = held_out_groups(((group, None) for group in groups), fraction, seed)
    return (
        _chosen(pairs, (group not in held_out for group in groups)),
        _chosen(pairs, (group in held_out for group in groups)),
    )


def _without_empty_sides(name: str, pairs: Pairs) -> Pairs:
    whole = [bool(source.strip() and target.strip()) for source, target in zip(*pairs, strict=True)]
    if not all(whole):
        tell(f"{name!r}: {whole.count(False):,} of {len(whole):,} pairs have an empty side and are left out")
    return _chosen(pairs, whole)


def _chosen(pairs: Pairs, choice: Iterable[bool]) -> Pairs:
    kept = list(choice)
    return Pairs(list(compress(pairs.source, kept)), list(compress(pairs.target, kept)))


def _swapped(pairs: Pairs) -> Pairs:
    return Pairs(pairs.target, pairs.source)


def _check(name: str, split: str, found: dict[str, Pairs]) -> None:
    if split not in found:
        instead = {
            "train": "ask for other splits, or ",
            "test": "name test files with --source-file and --target-file, or ",
        }
        raise UserError(
            f"{name!r} has no {split} part: {instead.get(split, '')}name a folder with {parallel_files.LAYOUT}"
        )
    if not found[split].source:
        share = {"train": " or a smaller validation_fraction"}
        raise UserError(
            f"{name!r} has no pairs for the split {split!r}: it needs more source sentences with a "
            f"translation{share.get(split, '')}"
        )
