"""Rows of files in every format: read as other libraries write them, and what is bad told row by row."""

import bz2
import csv
import gzip
import io
import json
import lzma

import numpy as np
import pytest

from nlp_lstm.bulk.records import BadRecord, Record, format_of, read_records, write_rows
from nlp_lstm.errors import UserError

TEXTS = ["Fine.", "", 'A "quoted" one, with a comma', "two\nlines", "Käse 🧀", " spaces ", "{}", "\u2028x"]
PACKERS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def csv_of(rows):
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows(rows)
    return stream.getvalue().encode()


def jsonl_of(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl"])
@pytest.mark.parametrize("start", [0, 3])
def test_rows_from_a_number_on(tmp_path, kind, packer, start):
    texts = [text for text in TEXTS if kind != "txt" or "\n" not in text]
    fields = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    content = {
        "txt": "".join(text + "\r\n" for text in texts).encode(),
        "csv": csv_of([["id", "text"], *(row.values() for row in fields)]),
        "jsonl": jsonl_of(fields),
    }[kind]
    path = tmp_path / f"mine.{kind}{packer}"
    path.write_bytes(PACKERS[packer](b"\xef\xbb\xbf" + content))
    kept = [{"text": text} for text in texts] if kind == "txt" else fields
    expected = [Record(number, row, row["text"]) for number, row in enumerate(kept)]
    assert list(read_records(path, "text", [], start)) == expected[start:]


def test_parquet(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    texts = [*TEXTS, None]
    table = arrow.table({"id": np.arange(9, dtype=np.int16), "text": texts, "parts": [[number] for number in range(9)]})
    parquet.write_table(table, tmp_path / "mine.parquet", row_group_size=4)
    for start in (0, 3, 4, 8, 9):
        found = list(read_records(tmp_path / "mine.parquet", "text", ["new"], start))
        assert [record.number for record in found] == list(range(start, 9))
        assert [record.text for record in found[:-1]] == TEXTS[start:]
        if found:
            assert isinstance(found[-1], BadRecord) and "has no text in 'text' but null" in found[-1].reason
    rows = [{**record.fields, "new": 0.5} for record in read_records(tmp_path / "mine.parquet", "text", []) if
            isinstance(record, Record)]  # fmt: skip
    write_rows(tmp_path / "written.parquet", rows, tmp_path / "mine.parquet", {"new": float})
    written = parquet.read_table(tmp_path / "written.parquet")
    assert written.drop_columns(["new"]).equals(table.slice(0, 8))  # the types as well
    assert written["new"].to_pylist() == [0.5] * 8


BAD_LINES = [
    (b'{"text": "\xff"}', "is no UTF-8 (invalid start byte at byte 10)"),
    (b"", "is no JSON"),
    (b"[1, 2]", "is no JSON object"),
    (b'{"text": "a"', "is no JSON"),
    (b'{"other": "a"}', "has no field 'text'"),
    (b'{"text": null}', "has no text in 'text' but null"),
    (b'{"text": ["a"]}', "has no text in 'text' but [\"a\"]"),
    (b'{"text": "a", "label": 3}', "has a field 'label' already: --prefix names the answers otherwise"),
    (b"[" * 100_000, "is no JSON"),
]


def test_bad_lines_do_not_stop_the_good_ones(tmp_path):
    path = tmp_path / "mine.jsonl"
    lines = [line for bad, _ in BAD_LINES for line in (bad, b'{"text": "good"}')]
    path.write_bytes(b"\n".join(lines))
    found = list(read_records(path, "text", ["label"]))
    assert [record.number for record in found] == list(range(18))
    for record, (line, why) in zip(found[::2], BAD_LINES, strict=True):
        assert isinstance(record, BadRecord) and record.reason.startswith(why), why
        assert record.shown == line.decode("utf-8", "replace")[:1000]
    assert {record.text for record in found[1::2]} == {"good"}


def test_bad_rows_of_tables_and_lines_of_text(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_bytes(b"id,text\r\n1,good\r\n2\r\n3,\xff\xfe\r\n4,a,b\r\n5,good\r\n")
    found = list(read_records(path, "text", []))
    assert [record.reason for record in found if isinstance(record, BadRecord)] == [
        "has 1 values for 2 columns",
        "is no UTF-8",
        "has 3 values for 2 columns",
    ]
    assert [(record.number, record.fields["id"]) for record in found if isinstance(record, Record)] == [
        (0, "1"),
        (4, "5"),
    ]
    path = tmp_path / "mine.txt"
    path.write_bytes(b"good\n\xc3\x28\n\ngood")
    good, bad, empty, last = read_records(path, "any", [])
    assert (good.text, empty.text, last.text) == ("good", "", "good")
    assert bad == BadRecord(1, "is no UTF-8 (invalid continuation byte at byte 0)", "�(")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("mine.csv", b"id,body\n1,a\n", "has no column 'text' but id, body: name one with --text-column"),
        ("mine.csv", b"text,label\na,1\n", "has a column 'label' already: --prefix names the answers otherwise"),
        ("mine.csv", b"text,text\na,b\n", "has two columns 'text'"),
        ("mine.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 1000, mtime=0)[:-20], "cannot be read"),
        ("mine.parquet", b"PAR1 no parquet", "cannot be read"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, words):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        list(read_records(tmp_path / name, "text", ["label"]))


@pytest.mark.parametrize("name", ["mine", "mine.doc", "mine.gz", "mine.txt.zip"])
def test_names_that_tell_no_format(tmp_path, name):
    with pytest.raises(UserError, match="has no ending known here"):
        format_of(tmp_path / name)


def test_what_is_written_reads_back(tmp_path):
    rows = [{"text": text, "id": "7", "new": number} for number, text in enumerate([*TEXTS, "\ud800"])]
    source = tmp_path / "source.jsonl"
    source.write_bytes(b"")
    write_rows(tmp_path / "out.jsonl", rows, source, {"new": int})
    assert [record.fields for record in read_records(tmp_path / "out.jsonl", "text", [])] == rows
    source = tmp_path / "source.csv"
    source.write_bytes(b"text,id\n")
    write_rows(tmp_path / "out.csv", rows[:-1], source, {"new": int})
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as stream:
        assert list(csv.DictReader(stream)) == [{**row, "new": str(row["new"])} for row in rows[:-1]]
