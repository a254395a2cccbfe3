"""The aclImdb layout: a folder and every kind of archive give the same records, and damage is told."""

import bz2
import contextlib
import gzip
import lzma
import os
import shutil
import tarfile
import zlib
from collections import Counter
from pathlib import Path

import pytest

from nlp_lstm.datasets.acl_imdb import find_roots, read
from nlp_lstm.datasets.known_sets import fingerprint_of_reviews, known_set
from nlp_lstm.datasets.review_records import text_group
from nlp_lstm.datasets.reviews import load_reviews
from nlp_lstm.errors import UserError

SPLITS = ["train", "test", "unlabelled"]


def message(path, splits=SPLITS):
    with pytest.raises(UserError) as raised:
        read(path, splits)
    text = str(raised.value)
    assert "\n" not in text and path.name in text
    return text


def test_folder(acl_imdb_set):
    assert read(acl_imdb_set.folder, SPLITS) == acl_imdb_set.records


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2"])
def test_archive_equals_folder_in_any_order(acl_imdb_set, tmp_path, suffix, reverse):
    archive = acl_imdb_set.pack(tmp_path / f"set{suffix}", reverse=reverse)
    before = sorted(tmp_path.rglob("*"))
    assert read(archive, SPLITS) == acl_imdb_set.records
    assert sorted(tmp_path.rglob("*")) == before, "reading an archive must leave nothing on disk"


@pytest.mark.parametrize("split", SPLITS)
def test_one_split_alone(acl_imdb_set, tmp_path, split):
    archive = acl_imdb_set.pack(tmp_path / "set.tar.gz")
    assert read(archive, [split]) == read(acl_imdb_set.folder, [split]) == {split: acl_imdb_set.records[split]}


@pytest.mark.parametrize("prefix", ["", "./", "aclImdb/", "./aclImdb/", "/data/aclImdb/", "./downloads/aclImdb/"])
def test_archive_prefixes(acl_imdb_set, tmp_path, prefix):
    assert read(acl_imdb_set.pack(tmp_path / "set.tar", prefix=prefix), SPLITS) == acl_imdb_set.records


def test_folder_found_up_to_two_levels_down(acl_imdb_set, tmp_path):
    for _ in range(2):
        outer = tmp_path / "outer"
        outer.mkdir()
        moved = acl_imdb_set.folder.rename(outer / acl_imdb_set.folder.name)
        acl_imdb_set.folder = outer.rename(tmp_path / f"level{_}")
        assert find_roots(acl_imdb_set.folder)[0].name == "aclImdb", moved
        assert read(acl_imdb_set.folder, SPLITS) == acl_imdb_set.records
    outer = tmp_path / "outer"
    outer.mkdir()
    acl_imdb_set.folder.rename(outer / "level2")
    assert "holds no reviews" in message(outer)


def test_too_deep_in_archive(acl_imdb_set, tmp_path):
    assert "holds no reviews" in message(acl_imdb_set.pack(tmp_path / "set.tar", prefix="a/b/c/"))


def test_two_sets_are_ambiguous(acl_imdb_set, tmp_path):
    archive = tmp_path / "both.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(acl_imdb_set.folder, "one")
        tar.add(acl_imdb_set.folder, "two")
    text = message(archive)
    assert "2 such sets" in text and "one" in text and "two" in text
    for name in ("one", "two"):
        shutil.copytree(acl_imdb_set.folder, tmp_path / "both" / name)
    text = message(tmp_path / "both")
    assert "2 such sets" in text and "one" in text and "two" in text


def test_without_film_list_each_text_is_its_group(acl_imdb_set, tmp_path):
    (acl_imdb_set.folder / "train" / "urls_pos.txt").unlink()
    same = "Twice the same.\n"
    for name in ("0_0.txt", "5_5.txt"):
        (acl_imdb_set.folder / "train" / "pos" / name).write_text(same)
    train = read(acl_imdb_set.folder, ["train"])["train"]
    assert train[:12] == acl_imdb_set.records["train"][:12]
    assert [record.group for record in train[12:]] == [text_group(record.text) for record in train[12:]]
    assert len({record.group for record in train[12:]}) == 11
    assert read(acl_imdb_set.pack(tmp_path / "set.tar"), ["train"])["train"] == train


def test_film_list_too_short(acl_imdb_set, tmp_path):
    urls = acl_imdb_set.folder / "train" / "urls_neg.txt"
    urls.write_text("".join(urls.read_text().splitlines(keepends=True)[:10]))
    for path in (acl_imdb_set.folder, acl_imdb_set.pack(tmp_path / "set.tar")):
        text = message(path)
        assert "train/urls_neg.txt has 10 lines" in text and "train/neg/10_0.txt" in text


def test_address_without_film_number_is_the_group(acl_imdb_set):
    urls = acl_imdb_set.folder / "test" / "urls_pos.txt"
    urls.write_text("http://example.org/film?id=7 \n\nhttp://www.imdb.com/title/tt0064354/usercomments\n")
    test = read(acl_imdb_set.folder, ["test"])["test"]
    assert [record.group for record in test[3:]] == [
        "http://example.org/film?id=7",
        text_group(test[4].text),
        "tt0064354",
    ]


def test_invalid_utf8_is_replaced_and_counted_and_line_ends_kept(acl_imdb_set, tmp_path, capsys):
    (acl_imdb_set.folder / "train" / "neg" / "0_0.txt").write_bytes(b"caf\xe9 \xff ok\r\n")
    for path in (acl_imdb_set.folder, acl_imdb_set.pack(tmp_path / "set.tar")):
        assert read(path, ["train"])["train"][0].text == "caf\ufffd \ufffd ok\r\n"
        err = capsys.readouterr().err
        assert "train/neg/0_0.txt' line 1: here is the first of 2 characters" in err and err.count("\n") == 1


def test_empty_review_stays(acl_imdb_set, tmp_path):
    (acl_imdb_set.folder / "train" / "neg" / "0_0.txt").write_bytes(b"")
    for path in (acl_imdb_set.folder, acl_imdb_set.pack(tmp_path / "set.tar")):
        train = read(path, ["train"])["train"]
        assert len(train) == 24 and train[0].text == ""


def test_last_member_of_a_name_counts_as_in_unpacking(acl_imdb_set, tmp_path):
    archive = acl_imdb_set.pack(tmp_path / "set.tar")
    review = acl_imdb_set.folder / "train" / "neg" / "0_0.txt"
    review.write_text("Second thoughts.")
    with tarfile.open(archive, "a") as tar:
        tar.add(review, "aclImdb/train/neg/0_0.txt")
    assert read(archive, SPLITS) == read(acl_imdb_set.folder, SPLITS)


def test_link_in_archive(acl_imdb_set, tmp_path):
    review = acl_imdb_set.folder / "test" / "pos" / "0_0.txt"
    review.unlink()
    review.symlink_to("1_7.txt")
    assert "in member 'aclImdb/test/pos/0_0.txt': a link" in message(acl_imdb_set.pack(tmp_path / "set.tar"))


@pytest.mark.parametrize("kind", ["LNKTYPE", "SYMTYPE", "CHRTYPE", "BLKTYPE", "FIFOTYPE"])
def test_what_is_no_file_is_refused(acl_imdb_set, tmp_path, kind):
    archive = acl_imdb_set.pack(tmp_path / "set.tar")
    with tarfile.open(archive, "a") as tar:
        member = tarfile.TarInfo("aclImdb/train/pos/99_9.txt")
        member.type, member.linkname = getattr(tarfile, kind), "/etc/passwd"
        tar.addfile(member)
    assert "in member 'aclImdb/train/pos/99_9.txt': a link or a device" in message(archive)


@pytest.mark.parametrize("parent", ["../", "../../", "/tmp/", "./.././"])
def test_nothing_is_written_whatever_members_are_called(acl_imdb_set, tmp_path, parent, monkeypatch):
    """Members are read where they are; one above the archive's own folder is a set like others."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    archive = acl_imdb_set.pack(tmp_path / "set.tar", prefix=parent)
    before = sorted(tmp_path.rglob("*"))
    with contextlib.suppress(UserError):
        assert read(archive, SPLITS) == read(acl_imdb_set.folder, SPLITS)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_member_without_bounds_is_refused_with_its_size(acl_imdb_set, tmp_path):
    """A sparse one: 512 bytes that stand for 8 GB of zeros."""
    member = tarfile.TarInfo("aclImdb/train/pos/99_9.txt")
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    size = 8**11 - 1  # the largest that the field holds
    header[386:410] = b"%011o\0%011o\0" % (size, 0)
    header[483:495] = b"%011o\0" % size
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    archive = acl_imdb_set.pack(tmp_path / "set.tar")
    content = archive.read_bytes()
    archive.write_bytes(bytes(header) + content)
    assert f"in member 'aclImdb/train/pos/99_9.txt': {size:,} bytes" in message(archive)


def test_not_the_layout(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.txt").write_text("no review")
    assert "train/pos" in message(tmp_path / "photos")
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(tmp_path / "photos", "photos")
    assert "train/pos" in message(tmp_path / "photos.tar")


def test_not_an_archive(tmp_path):
    (tmp_path / "set.tar").write_bytes(b"This is no archive. " * 100)
    assert "cannot read" in message(tmp_path / "set.tar")


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz", ".tar.bz2"])
def test_truncated_archive_never_gives_part_of_the_reviews(acl_imdb_set, tmp_path, suffix):
    whole = acl_imdb_set.pack(tmp_path / f"whole{suffix}").read_bytes()
    end = len(whole)
    if suffix == ".tar":  # the padding behind the last member may go
        with tarfile.open(tmp_path / "whole.tar") as tar:
            last = tar.getmembers()[-1]
        end = last.offset_data + last.size + 512
    cut_archive = tmp_path / f"cut{suffix}"
    # Multiples of 512 fall between members, where tarfile by itself sees no damage.
    for cut in sorted({*range(1, end, max(1, end // 25)), *range(512, end, 512 * max(1, end // 20_000)), end - 1}):
        cut_archive.write_bytes(whole[:cut])
        assert "cannot read" in message(cut_archive), cut


def test_truncated_archive_names_the_member(acl_imdb_set, tmp_path):
    archive = acl_imdb_set.pack(tmp_path / "set.tar")
    with tarfile.open(archive) as tar:
        member = tar.getmember("aclImdb/train/pos/5_5.txt")
    archive.write_bytes(archive.read_bytes()[: member.offset_data + 7])
    assert "in member 'aclImdb/train/pos/5_5.txt'" in message(archive)


def test_damaged_header_is_not_the_end(acl_imdb_set, tmp_path):
    archive = acl_imdb_set.pack(tmp_path / "set.tar")
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        offset = tar.getmember("aclImdb/train/pos/5_5.txt").offset
    content = bytearray(archive.read_bytes())
    content[offset + 3] ^= 1
    archive.write_bytes(content)
    before = names[names.index("aclImdb/train/pos/5_5.txt") - 1]
    assert f"after member {before!r}" in message(archive)


def unpacked(archive):
    """What a compressed file holds, as far as the library itself sees no damage; else None."""
    try:
        return {".gz": gzip, ".xz": lzma, ".bz2": bz2}[archive.suffix].decompress(archive.read_bytes())
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        return None


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.xz", ".tar.bz2"])
def test_damaged_compressed_bytes_are_noticed(acl_imdb_set, tmp_path, suffix):
    archive = acl_imdb_set.pack(tmp_path / f"set{suffix}")
    whole, unpacked_whole = archive.read_bytes(), unpacked(archive)
    for offset in range(len(whole) // 3, len(whole) - 12, max(1, len(whole) // 15)):
        content = bytearray(whole)
        content[offset] ^= 0x10
        archive.write_bytes(content)
        if unpacked(archive) == unpacked_whole:  # a copy from another place among zeros, and nothing is damaged
            continue
        assert "cannot read" in message(archive), offset


def test_checksum_behind_the_last_member_is_read(acl_imdb_set, tmp_path):
    archive = acl_imdb_set.pack(tmp_path / "set.tar")
    content = bytearray(gzip.compress(archive.read_bytes() + bytes(2_000_000)))
    archive.write_bytes(content)
    assert read(archive, SPLITS) == acl_imdb_set.records
    content[-8] ^= 1
    archive.write_bytes(content)
    assert "CRC" in message(archive)


def test_unreadable_review_in_folder(acl_imdb_set):
    review = acl_imdb_set.folder / "train" / "pos" / "5_5.txt"
    review.unlink()
    review.mkdir()  # what root, too, cannot read as a file
    assert "5_5.txt" in message(acl_imdb_set.folder)


@pytest.mark.skipif("NLP_LSTM_DATA" not in os.environ, reason="NLP_LSTM_DATA does not name the folder of real data")
def test_real_set():
    archive = Path(os.environ["NLP_LSTM_DATA"]) / "imdb" / "aclImdb.tar.xz"
    if not archive.exists():
        pytest.skip(f"no {archive}")
    found = load_reviews(str(archive), ["train", "validation", "test", "unlabelled"])
    train, validation, test = found["train"], found["validation"], found["test"]
    assert Counter(record.label for record in train + validation) == {0: 12_500, 1: 12_500}
    assert Counter(record.label for record in test) == {0: 12_500, 1: 12_500}
    assert len(validation) == pytest.approx(2500, abs=30)
    assert sum(record.label or 0 for record in validation) == pytest.approx(1250, abs=15)
    assert not {record.group for record in train} & {record.group for record in validation}
    assert all(record.group.startswith("tt") for part in found.values() for record in part)
    # 266 texts of test occur in unsup, four of them twice.
    assert len(found["unlabelled"]) == 50_000 - 270
    assert not {record.text for record in found["unlabelled"]} & {record.text for record in test}
    trained_on = [train[1000:], train[:1000], validation, found["unlabelled"]]  # however it was cut
    assert known_set(fingerprint_of_reviews(trained_on)) == "aclImdb"
