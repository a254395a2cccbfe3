"""The Large Movie Review Dataset (Maas et al. 2011) in its official layout, as a folder or packed in a tar archive.

    aclImdb/{train,test}/{pos,neg}/<number>_<rating>.txt    a review each
    aclImdb/train/unsup/<number>_0.txt                      unlabelled reviews
    aclImdb/{train,test}/urls_{pos,neg,unsup}.txt           line <number>, counted from 0: the film's address

An archive is read as a stream: nothing is unpacked to disk.
"""

import os
import posixpath
import re
import tarfile
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

from nlp_lstm.datasets.compressed import READ_ERRORS, open_decompressed, reason
from nlp_lstm.datasets.encodings import Replaced, decode_counted
from nlp_lstm.datasets.review_records import LabelledText, Split, text_group
from nlp_lstm.errors import UserError

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
LAYOUT = "train/pos/0_9.txt, train/neg, test/pos, test/neg (the aclImdb layout)"

_Folder = tuple[str, str]  # ("train", "pos")

_FOLDERS: dict[Split, tuple[_Folder, ...]] = {
    "train": (("train", "neg"), ("train", "pos")),
    "test": (("test", "neg"), ("test", "pos")),
    "unlabelled": (("train", "unsup"),),
}
_LABELS = {"neg": 0, "pos": 1, "unsup": None}
_MOST_PARENTS = 2  # aclImdb/train/... and parent/aclImdb/train/...
_REVIEW_NAME = re.compile(r"([0-9]{1,9})_[0-9]+\.txt")
_MEMBER_NAME = re.compile(
    r"(?P<root>([^/]+/){0,2})(?P<part>train|test)/"  # 2 as _MOST_PARENTS
    r"((?P<kind>neg|pos|unsup)/(?P<review>[0-9]{1,9}_[0-9]+\.txt)|urls_(?P<listed>neg|pos|unsup)\.txt)"
)
_FILM = re.compile(r"tt[0-9]+")

LARGEST_MEMBER = 2**24
"""Bytes of a review, or of a list of films, in an archive."""


class _StrictHeader(tarfile.TarInfo):
    """A header that must be whole.

    `tarfile` takes a damaged or cut-off header for the end of the archive: half the reviews would be missing without
    a word.
    """

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "_StrictHeader":
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed lacks it
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


def find_roots(path: Path) -> list[Path]:
    """The folders at `path`, or up to two levels below it, that hold `train/pos` or the like.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as downloads:
    ...     Path(downloads, "aclImdb", "train", "pos").mkdir(parents=True)
    ...     [root.name for root in find_roots(Path(downloads))]
    ['aclImdb']

    Raises:
        OSError: `path` itself cannot be listed.
    """
    candidates = [path]
    level = _subfolders(path)
    for _ in range(_MOST_PARENTS):
        candidates += level
        level = [child for folder in level if os.access(folder, os.R_OK | os.X_OK) for child in _subfolders(folder)]
    folders = [folder for folders in _FOLDERS.values() for folder in folders]
    return [root for root in candidates if any(os.path.isdir(root.joinpath(*folder)) for folder in folders)]


def read(path: Path, wanted: Collection[Split]) -> dict[Split, list[LabelledText]]:
    r"""Read several splits of the set in one pass.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     positive = Path(folder, "aclImdb", "train", "pos")
    ...     positive.mkdir(parents=True)
    ...     _ = (positive / "0_9.txt").write_text("A joy.")
    ...     _ = (positive.parent / "urls_pos.txt").write_text("http://www.imdb.com/title/tt0064354/usercomments\n")
    ...     read(Path(folder), ["train"])
    {'train': [LabelledText(text='A joy.', label=1, group='tt0064354')]}

    Args:
        path: The folder, or a .tar, .tar.gz, .tar.xz or .tar.bz2 archive of it. The layout may start there or up to
            two folders further down.
        wanted: The splits to read. The set has no validation split of its own: that name is passed over.

    Returns:
        For each wanted split its records by label, negative first, then by number, however the files are stored. The
        group is the film's IMDb number; without the `urls_*.txt` file it is `text_group`.

    Raises:
        UserError: Not that layout, a file or member that cannot be read, or a `urls_*.txt` that ends too early.
    """
    folders = {folder for split in wanted for folder in _FOLDERS.get(split, ())}
    reviews: dict[_Folder, dict[str, str]] = defaultdict(dict)
    films: dict[_Folder, list[str]] = {}
    replaced = Replaced()
    for folder, name, content in _folder_files(path, folders) if path.is_dir() else _archive_files(path, folders):
        file = repr(f"{path}: {'/'.join(folder)}/{name}") if name else repr(f"{path}: the films")
        text = decode_counted(content, file, "utf-8", "write it anew as UTF-8", replaced)
        if name:
            reviews[folder][name] = text
        else:
            films[folder] = text.splitlines()
    replaced.tell()
    return {
        split: [
            LabelledText(text, _LABELS[folder[1]], _group(path, folder, name, text, films.get(folder)))
            for folder in _FOLDERS[split]
            for name, text in sorted(reviews[folder].items(), key=lambda item: (_number(item[0]), item[0]))
        ]
        for split in wanted
        if split in _FOLDERS
    }


def _number(name: str) -> int:
    return int(name.split("_")[0])


def _group(path: Path, folder: _Folder, name: str, text: str, films: list[str] | None) -> str:
    if films is None:
        return text_group(text)
    if _number(name) >= len(films):
        raise UserError(
            f"{str(path)!r}: {folder[0]}/urls_{folder[1]}.txt has {len(films)} lines, none for "
            f"{'/'.join(folder)}/{name}: restore the file, or remove it to go without films"
        )
    address = films[_number(name)].strip()
    film = _FILM.search(address)
    return film.group() if film else address or text_group(text)


def _subfolders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if os.path.isdir(child))


def _check_roots(path: Path, roots: Collection[str]) -> None:
    if not roots:
        raise UserError(f"{str(path)!r} holds no reviews: expected {LAYOUT}")
    if len(roots) > 1:
        raise UserError(f"{str(path)!r} holds {len(roots)} such sets, {', '.join(map(repr, sorted(roots)))}: name one")


def _folder_files(path: Path, folders: Collection[_Folder]) -> Iterator[tuple[_Folder, str, bytes]]:
    """The folder, name and content of each review, and of each list of films under the name ''."""
    file = path
    try:
        roots = find_roots(path)
        _check_roots(path, [str(root) for root in roots])
        for part, kind in sorted(folders):
            file = roots[0] / part / f"urls_{kind}.txt"
            if file.exists():
                yield (part, kind), "", file.read_bytes()
            file = roots[0] / part / kind
            for name in os.listdir(file) if file.is_dir() else []:
                if _REVIEW_NAME.fullmatch(name):
                    file = roots[0] / part / kind / name
                    yield (part, kind), name, file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {str(file)!r}: {reason(error)}") from error


def _archive_files(path: Path, folders: Collection[_Folder]) -> Iterator[tuple[_Folder, str, bytes]]:
    """As `_folder_files`, in the archive's order. Of members of one name the last counts, as in unpacking."""
    roots = set()
    place = "at its start"
    try:
        with (
            open_decompressed(path) as stream,
            tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictHeader, bufsize=1 << 18) as archive,
        ):
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # 100,000 of them would pile up
                place = f"after member {member.name!r}"
                match = _MEMBER_NAME.fullmatch(posixpath.normpath(member.name).lstrip("/"))
                if match is None or member.isdir():
                    continue
                if match["review"]:
                    roots.add(match["root"] or "./")
                folder = (match["part"], match["kind"] or match["listed"])
                if folder in folders:
                    place = f"in member {member.name!r}"
                    content = archive.extractfile(member) if member.isreg() else None
                    if content is None:
                        raise tarfile.ReadError("a link or a device, not a file")
                    if member.size > LARGEST_MEMBER:  # a sparse one may have terabytes of zeros
                        raise tarfile.ReadError(
                            f"{member.size:,} bytes, more than the {LARGEST_MEMBER:,} of any review"
                        )
                    yield folder, match["review"] or "", content.read()
                    place = f"after member {member.name!r}"
            while stream.read(1 << 20):  # to the end, where gzip, bzip2 and xz keep their checksum
                pass
    except UserError:
        raise
    except (tarfile.TarError, ValueError, *READ_ERRORS) as error:
        raise UserError(
            f"cannot read {str(path)!r} {place}: {reason(error)}: if it is a tar archive, it is damaged or incomplete: "
            "fetch it again"
        ) from error
    _check_roots(path, roots)
