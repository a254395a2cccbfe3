"""Tables in every format give the same records; what is wrong with one is told with file and line."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections import Counter

import pytest

from nlp_lstm.datasets.review_records import LabelledText, text_group
from nlp_lstm.datasets.review_table import TableFormat, parse, read_file, suffix
from nlp_lstm.datasets.reviews import load_reviews
from nlp_lstm.datasets.table_rows import delimited_rows
from nlp_lstm.errors import UserError

ROWS = [
    LabelledText(f'{i}: "quoted", comma, tab\there, “naïve”\nsecond line', i % 2, f"film {i // 4}") for i in range(80)
]
PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def as_bytes(rows, kind):
    names = {0: "negative", 1: "positive", None: ""}
    if kind in (".csv", ".tsv"):
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter="," if kind == ".csv" else "\t")
        writer.writerow(["film", "text", "label", "more"])
        writer.writerows([row.group, row.text, names[row.label], "x"] for row in rows)
        return text.getvalue().encode()
    objects = [{"film": row.group, "text": row.text, "label": row.label} for row in rows]
    return b"".join(json.dumps(o, ensure_ascii=False).encode() + b"\n" for o in objects)


def table(content, name="reviews.csv"):
    return parse(io.BytesIO(content), name)


def message(content, name="reviews.csv", split=None):
    with pytest.raises(UserError) as raised:
        parse(io.BytesIO(content), name, split)
    text = str(raised.value)
    assert "\n" not in text and repr(name) in text
    return text


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl", ".ndjson"])
def test_formats_agree(tmp_path, kind, packed):
    assert table(as_bytes(ROWS, kind), f"x{kind}") == ROWS
    path = tmp_path / f"Reviews{kind.upper()}{packed}"
    path.write_bytes(PACK[packed](as_bytes(ROWS, kind)))
    found = load_reviews(str(path), ["train", "validation", "test", "unlabelled"])
    assert found.pop("unlabelled") == []
    assert sorted(record for part in found.values() for record in part) == sorted(ROWS)
    assert {split: len(part) for split, part in found.items()} == {"train": 64, "validation": 8, "test": 8}
    assert len({(record.group, split) for split, part in found.items() for record in part}) == 20


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", ".csv"),
        ("A.CSV.GZ", ".csv"),
        ("a.b.tsv.xz", ".tsv"),
        ("a.tar.gz", None),
        ("csv", None),
        ("a.gz", None),
    ],
)
def test_suffix(name, kind):
    assert suffix(name) == kind


def test_plain_table_under_a_compressed_name(tmp_path):
    path = tmp_path / "reviews.csv.gz"
    path.write_bytes(as_bytes(ROWS, ".csv"))
    assert sum(map(len, read_file(path).values())) == len(ROWS)


def test_labels_in_all_spellings():
    names = ["negative", "positive", "neg", "pos", "0", "1", " NEGATIVE ", "Pos", "False", "TRUE"]
    content = "text,label\n" + "".join(f"t,{name}\n" for name in names)
    assert [record.label for record in table(content.encode())] == [0, 1] * 5
    lines = "".join(json.dumps({"text": "t", "label": label}) + "\n" for label in [*names, 0, 1, False, True])
    assert [record.label for record in table(lines.encode(), "x.jsonl")] == [0, 1] * 7


@pytest.mark.parametrize("label", ["2", "-1", "1.0", "good", "yes", "negative positive"])
def test_unknown_label_in_csv(label):
    text = message(f'text,label\n"two\nlines",pos\nfine,neg\nbad,{label}\n'.encode())
    assert "line 5" in text and repr(label) in text and "negative, neg, 0, positive, pos, 1" in text


@pytest.mark.parametrize("label", [2, 1.0, "x", [1], {"a": 1}])
def test_unknown_label_in_json(label):
    text = message(b'{"text": "t", "label": 1}\n\n' + json.dumps({"text": "t", "label": label}).encode(), "x.jsonl")
    assert "line 3" in text and repr(label) in text and "negative, neg, 0, positive, pos, 1" in text


def test_label_of_a_megabyte_gives_a_short_message():
    assert len(message(b"text,label\nt," + b"x" * 1_000_000)) < 500


@pytest.mark.parametrize("found", ["body,label", "text,verdict", "0,1467810369"])
def test_missing_column(found):
    text = message(f"{found}\na,b\n".encode())
    assert "line 1" in text and all(repr(column) in text for column in found.split(","))


def test_missing_key_in_json():
    text = message(b'{"text": "t", "label": 1}\n{"review": "t", "label": 1}\n', "x.jsonl")
    assert "line 2" in text and "'review'" in text and "no column 'text'" in text


def test_column_twice():
    assert "2 times" in message(b"text,label,Text\na,pos,b\n")


@pytest.mark.parametrize("row", ["a,pos,x,more", "a", "a,b,pos,x,y"])
def test_ragged_row(row):
    assert "line 3" in message(f"text,label,film\nfine,pos,x\n{row}\n".encode())


@pytest.mark.parametrize("row", ['"never closed,pos\nnext,neg', '"closed" early,pos\nnext,neg'])
def test_broken_quoting_does_not_swallow_rows(row):
    text = message(f"text,label\nfine,pos\n{row}\n".encode())
    assert "line 3" in text and "quot" in text


@pytest.mark.parametrize(
    "line", ["{", "not json", '{"text": "t", "label": 1} x', "[" * 100_000, "[1]", "null", '"text"']
)
def test_malformed_json(line):
    text = message(b'{"text": "t", "label": 1}\n' + line.encode() + b"\n", "x.jsonl")
    assert "line 2" in text and "object" in text and len(text) < 500


@pytest.mark.parametrize("text", [None, 3, ["a"]])
def test_json_text_must_be_a_string(text):
    assert "'text'" in message(json.dumps({"text": text, "label": 1}).encode(), "x.jsonl")


def test_empty_label_is_unlabelled(tmp_path):
    rows = [*ROWS, LabelledText("who knows", None, "film 99")]
    for kind in (".csv", ".jsonl"):
        path = tmp_path / f"x{kind}"
        path.write_bytes(as_bytes(rows, kind))
        found = load_reviews(str(path), ["train", "unlabelled"])
        assert found["unlabelled"] == rows[-1:]
        assert rows[-1] not in found["train"]
    for split in ("test", "validation"):
        text = message(b"text,label\na,pos\nb, \n", split=split)
        assert "line 3" in text and repr(split) in text


def test_groups():
    content = b"text,label,Film,group\na,pos,Alien,x\nb,pos, ,y\n"
    assert [record.group for record in table(content)] == ["Alien", text_group("b")]
    assert table(b"text,label,group\na,pos,x\n")[0].group == "x"
    assert [record.group for record in table(b"text,label\na,pos\na,pos\n")] == [text_group("a")] * 2
    lines = b'{"text": "a", "label": 1, "film": 7}\n{"text": "b", "label": 1, "film": null, "group": "g"}\n'
    assert [record.group for record in table(lines, "x.jsonl")] == ["7", "g"]


@pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl"])
def test_megabyte_text(kind):
    csv.field_size_limit(131_072)  # its default
    rows = [LabelledText("très bon " * 120_000, 1, "film")]
    assert table(as_bytes(rows, kind), f"x{kind}") == rows
    assert csv.field_size_limit() == 131_072


@pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl"])
def test_byte_order_mark_and_crlf(kind):
    content = as_bytes(ROWS, ".jsonl").replace(b"\n", b"\r\n") if kind == ".jsonl" else as_bytes(ROWS, kind)
    assert table(b"\xef\xbb\xbf" + content, f"x{kind}") == ROWS


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_invalid_utf8_and_nul(name):
    delimiter = b"," if name == "x.csv" else b"\t"
    content = b"\n".join(delimiter.join(row) for row in [(b"text", b"label"), (b"caf\xe9 \x00 ok", b"pos")])
    assert table(content, name)[0].text == "caf\ufffd \x00 ok"


def test_json_text_can_always_be_written_as_utf8():
    record = table(b'{"text": "\\ud83d\\ude00 half \\ud83d caf\xe9 \\u0000", "label": 1}', "x.jsonl")[0]
    assert record.text == "😀 half \ufffd caf\ufffd \0"
    assert record.text.encode()


def test_empty_texts_and_blank_lines():
    assert [record.text for record in table(b'text,label\n\n,pos\n\n"",neg\n\n')] == ["", ""]


@pytest.mark.parametrize("content", [b"", b"\n", b"text,label\n"])
def test_no_rows(content):
    assert "no rows" in message(content)


@pytest.mark.parametrize("packed", [".gz", ".bz2", ".xz"])
def test_damaged_compressed_table(tmp_path, packed):
    path = tmp_path / f"x.csv{packed}"
    path.write_bytes(PACK[packed](as_bytes(ROWS * 50, ".csv"))[:-20])
    with pytest.raises(UserError, match=r"^cannot read '.*x\.csv") as raised:
        load_reviews(str(path), ["train"])
    assert "\n" not in str(raised.value)


def write_folder(folder, **tables):
    for name, rows in tables.items():
        name, kind = name.rsplit("_", 1)
        (folder / f"{name}.{kind}").write_bytes(as_bytes(rows, f".{kind}"))
    return str(folder)


def test_folder_of_splits(tmp_path):
    unlabelled = [LabelledText("new", None, "x"), LabelledText(f" {ROWS[70].text}", None, "y")]
    source = write_folder(
        tmp_path, train_csv=ROWS[:40], validation_tsv=ROWS[40:60], test_jsonl=ROWS[60:], unlabelled_csv=unlabelled
    )
    assert load_reviews(source, ["test", "train", "validation", "unlabelled"]) == {
        "test": ROWS[60:],
        "train": ROWS[:40],
        "validation": ROWS[40:60],
        "unlabelled": unlabelled[:1],
    }


def test_folder_without_validation_cuts_train_by_group(tmp_path):
    nobody = LabelledText("unlabelled in train", None, "film 0")
    source = write_folder(tmp_path, train_csv=[*ROWS[:60], nobody], test_csv=ROWS[60:])
    found = load_reviews(source, ["train", "validation", "unlabelled"], validation_fraction=0.2)
    assert sorted(found["train"] + found["validation"]) == sorted(ROWS[:60])
    assert Counter(record.label for record in found["validation"]) == {0: 6, 1: 6}
    assert not {record.group for record in found["train"]} & {record.group for record in found["validation"]}
    assert found["unlabelled"] == [nobody]
    assert load_reviews(source, ["train"], validation_fraction=0.2)["train"] == found["train"]
    assert load_reviews(source, ["train"], validation_fraction=0)["train"] == ROWS[:60]


def test_unlabelled_table_needs_no_labels(tmp_path):
    source = write_folder(tmp_path, train_csv=ROWS[:60], test_csv=ROWS[60:])
    (tmp_path / "unlabelled.csv").write_text("text\nplain\n\n")
    assert load_reviews(source, ["unlabelled"])["unlabelled"] == [LabelledText("plain", None, text_group("plain"))]
    (tmp_path / "unlabelled.csv").write_text("text,label\nplain,whatever\n")
    assert load_reviews(source, ["unlabelled"])["unlabelled"] == [LabelledText("plain", None, text_group("plain"))]


def test_two_tables_for_a_split(tmp_path):
    source = write_folder(tmp_path, train_csv=ROWS, train_tsv=ROWS)
    with pytest.raises(UserError, match=r"2 tables for the split 'train', 'train.csv', 'train.tsv'"):
        load_reviews(source, ["train"])


def read(content, name="reviews.csv", split=None, **how):
    return [(record.text, record.label) for record in parse(io.BytesIO(content), name, split, TableFormat(**how))]


def how_message(content, name="reviews.csv", **how):
    with pytest.raises(UserError) as raised:
        parse(io.BytesIO(content), name, table=TableFormat(**how))
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    "header", ["review,sentiment", "Text,Sentiment", "sentence,label", "tweet,target", "review,label"]
)
def test_usual_columns_are_recognised(header):
    assert read(f"{header}\nfine,pos\ndull,negative\n".encode()) == [("fine", 1), ("dull", 0)]
    text, label = header.split(",")
    rows = [{text: "fine", label: True}, {label: 0, text: "dull"}]
    lines = "\n".join(map(json.dumps, rows)).encode()
    assert read(lines, "x.jsonl") == [("fine", 1), ("dull", 0)]


def test_text_and_label_go_before_other_names():
    content = b"review,sentiment,text,label\na,pos,b,neg\n"
    assert read(content) == [("b", 0)]
    assert read(content, text_column=" Review ", label_column="SENTIMENT") == [("a", 1)]
    text = how_message(b"review,sentence,label\na,b,pos\n")
    assert "'review', 'sentence'" in text and "--text-column" in text


def test_columns_that_are_named():
    rows = [["id", "body, all of it", "verdict"], ["7", "fine; good", "pos"], ["8", "dull\nlong", "neg"]]
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows(rows)
    how = {"text_column": "Body, all of it", "label_column": "verdict"}
    expected = [("fine; good", 1), ("dull\nlong", 0)]
    assert read(stream.getvalue().encode(), **how) == expected
    lines = b"".join(json.dumps(dict(zip(rows[0], row, strict=True))).encode() + b"\n" for row in rows[1:])
    assert read(lines, "x.jsonl", **how) == expected
    for name, content in (("reviews.csv", stream.getvalue().encode()), ("x.jsonl", lines)):
        text = how_message(content, name)
        assert "'verdict'" in text and "--text-column" in text and "no column 'text'" in text
        assert "no column 'stars'" in how_message(content, name, text_column="id", label_column="stars")
    assert "both name 'id'" in how_message(stream.getvalue().encode(), text_column="id", label_column="ID")


def test_sentiment140():
    content = (
        b'"0","1467810369","Mon Apr 06","NO_QUERY","someone","so sad, really"\n'
        b'"4","1467810370","Mon Apr 06","NO_QUERY","other","caf\xe9 ""joy"""\n'
    )
    how = {"text_column": "6", "label_column": "1", "labels": "0=negative,4=positive", "header": False}
    assert read(content, encoding="latin-1", **how) == [("so sad, really", 0), ('café "joy"', 1)]
    text = how_message(content)
    assert "line 1" in text and "--no-header" in text and "--text-column" in text and "'1467810369'" in text
    text = how_message(content, header=False)
    assert "--text-column" in text and "1 to 6" in text
    assert "no column '7'" in how_message(content, **{**how, "text_column": "7"})
    assert "line 2: 5 fields where the first row has 6" in how_message(
        content.replace(b'"other",', b""), **{**how, "encoding": "latin-1"}
    )
    lines = b'{"text": "a", "label": 1}\n'
    assert "leave --no-header out" in how_message(lines, "x.jsonl", header=False)


def test_labels_that_are_named(capsys):
    how = {"labels": "1=negative, 2 = neg,4=Positive,5=pos"}
    content = b"text,label\na,1\nb,2\nc,3\nd,4.0\ne,5\nf,3\ng,none\nh,\n"
    expected = [("a", 0), ("b", 0), ("d", 1), ("e", 1), ("h", None)]
    assert read(content, **how) == expected
    out, err = capsys.readouterr()
    assert out == "" and err == (
        "'reviews.csv': 3 of 8 rows are left out, --labels does not name their labels: \"'3'\", \"'none'\"\n"
    )
    values = [1, 2, 3, 4.0, "5", 3, "none", None]
    lines = "".join(json.dumps({"text": "abcdefgh"[at], "label": value}) + "\n" for at, value in enumerate(values))
    assert read(lines.encode(), "x.jsonl", **how) == expected
    assert "3 of 8 rows" in capsys.readouterr().err
    assert "2 of 2 rows are left out" in how_message(b"text,label\na,pos\nb,neg\n", **how)
    assert '--labels "0=negative' in how_message(content)


@pytest.mark.parametrize("labels", ["1", "1=good", "=pos", "0=neg,0=pos", "0=neg,,1=pos", "1=positive", "0=neg,1=neg"])
def test_labels_that_cannot_be_understood(labels):
    text = how_message(b"text,label\na,1\n", labels=labels)
    assert "--labels" in text and '"0=negative,4=positive"' in text


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("kind", [".csv", ".tsv"])
@pytest.mark.parametrize("told", [False, True])
def test_the_delimiter_is_found_and_said(capsys, delimiter, kind, told):
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter).writerows(
        [["label", "text"], *([row.label, row.text + ";,|\t" + '"'] for row in ROWS)]
    )
    content = ((f"sep={delimiter}\r\n" if told else "") + stream.getvalue()).encode()
    expected = [(row.text + ";,|\t" + '"', row.label) for row in ROWS]
    assert read(content, f"x{kind}") == expected
    words = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
    usual = {".csv": ",", ".tsv": "\t"}[kind]
    err = f"'x{kind}': fields stand between {words[delimiter]}, not {words[usual]}\n" if delimiter != usual else ""
    assert capsys.readouterr() == ("", err)
    without = content[content.index(b"text\r\n") + 6 :]
    how = {"header": False, "text_column": "2", "label_column": "1"}
    assert read(without, f"x{kind}", **how) == expected


def test_lines_are_numbered_below_the_line_of_excel():
    assert "line 4" in message(b"sep=;\ntext;label\nfine;pos\nbad;none\n")
    assert message(b"sep=;\nbody;label\n").startswith("'reviews.csv' line 2: no column 'text' among ['body', 'label']")


def test_the_delimiter_of_columns_that_are_not_found_is_still_seen():
    assert "among ['body', 'verdict, or so']" in message(b"body;verdict, or so\na;b\nc;d, e, f\n")
    assert "among ['0', 'so sad']" in message(b"0\tso sad\n4\tfine, fine\n")


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "gb18030"])
def test_encodings(tmp_path, kind, packed, encoding):
    rows = [row._replace(text=row.text + " 狗 “é”") for row in ROWS]
    path = tmp_path / f"x{kind}{packed}"
    path.write_bytes(PACK[packed](as_bytes(rows, kind).decode().encode(encoding)))
    named = TableFormat(encoding="" if "utf" in encoding else encoding)
    found = read_file(path, named)
    assert sorted(record for part in found.values() for record in part) == sorted(rows)


def test_damage_is_counted_by_line(capsys):
    read("text,label\nfine,pos\n“dull”,neg\n".encode("cp1252"))
    assert capsys.readouterr().err.startswith("'reviews.csv' line 3: here is the first of 2 characters")
    read("text,label\nfine,pos\n“dull”,neg\n".encode("cp1252"), encoding="cp1252")
    assert capsys.readouterr().err == ""


def test_carriage_returns_end_lines_too():
    assert read(b'text,label\r"a\rb",pos\rc,neg\r') == [("a\rb", 1), ("c", 0)]
    assert read(b'{"text": "a", "label": 1}\r{"text": "b", "label": 0}\r', "x.jsonl") == [("a", 1), ("b", 0)]


def test_other_code_finds_the_csv_module_as_it_was():
    csv.field_size_limit(77)
    try:
        rows = delimited_rows("text\n" + "x" * 200_000 + "\nb\n", "x.csv", ",", lambda columns, where: ("text",))
        assert len(next(rows).fields["text"]) == 200_000
        with pytest.raises(csv.Error):
            next(csv.reader(["x" * 78]))
        assert csv.field_size_limit() == 77
    finally:
        csv.field_size_limit(131_072)


def test_a_folder_is_read_by_one_format(tmp_path, capsys):
    for split, rows in {"train": "1;a\n5;b\n1;c\n5;d\n", "test": "1;e\n5;f\n3;g\n"}.items():
        (tmp_path / f"{split}.csv").write_text(rows, encoding="utf-16")
    (tmp_path / "unlabelled.csv").write_text("0;h\n")
    how = TableFormat("2", "1", "1=negative,5=positive", header=False)
    found = load_reviews(tmp_path, ["test", "train", "unlabelled", "all"], validation_fraction=0, table=how)
    assert {split: [record.text for record in part] for split, part in found.items()} == {
        "test": ["e", "f"],
        "train": ["a", "b", "c", "d"],
        "unlabelled": ["h"],
        "all": ["a", "b", "c", "d", "e", "f"],
    }
    assert "test.csv': 1 of 3 rows are left out" in capsys.readouterr().err
