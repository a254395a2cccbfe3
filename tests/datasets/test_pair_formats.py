"""Sentence pairs in the formats that people have them in: headers, columns, CSV, JSON Lines, TMX, OPUS's folders."""

import bz2
import gzip
import json
import lzma
import random
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pytest

from nlp_lstm.datasets import pair_csv, pair_jsonl, pair_table, pair_tmx
from nlp_lstm.datasets.languages import is_language, language_code
from nlp_lstm.datasets.pair_columns import PairFormat, choose_columns, is_header
from nlp_lstm.datasets.pairs import load_pairs, load_source
from nlp_lstm.errors import UserError

ROWS = [(f"A dog, no. {place}", f"Ein „Hund“; {place}") for place in range(30)]
PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def told(call, *arguments, **settings) -> str:
    with pytest.raises(UserError) as raised:
        call(*arguments, **settings)
    text = str(raised.value)
    assert "\n" not in text
    return text


def rows(pairs):
    return list(zip(*pairs, strict=True))


def loaded(path: Path, **how):
    """All pairs of a source, in order of their number, and its languages."""
    found = load_source(path, ["all"], **how)
    return sorted(rows(found.splits["all"]), key=lambda row: int(row[0].split()[-1])), found.languages


def swapped(pairs):
    return [(target, source) for source, target in pairs]


def write(path: Path, text: str, packed: str = "") -> Path:
    path = path.with_name(path.name + packed)
    path.write_bytes(PACK[packed](text.encode("utf-8")))
    return path


# Headers and columns


@pytest.mark.parametrize(
    ("fields", "is_one"),
    [
        (["en", "de"], True),
        (["source", "target"], True),
        ([" English ", "GERMAN"], True),
        (["id", "en-US", "pt_BR", "score"], True),
        (["Sentence", "Translation", "licence"], True),
        # Pairs that a person may well have.
        (["English", "Englisch"], False),
        (["Latin", "Latin"], False),
        (["no", "no"], False),
        (["No.", "Nein."], False),
        (["Go", "Geh"], False),
        (["id", "score"], False),
        (["en", "Hallo"], False),
        (["en"], False),
        (["", ""], False),
    ],
)
def test_what_is_a_header(fields, is_one):
    assert is_header(fields) is is_one


@pytest.mark.parametrize(
    ("columns", "how", "expected"),
    [
        (["source", "target"], {}, ("source", "target")),
        (["target", "source"], {}, ("source", "target")),
        (["id", "target", "source", "score"], {"reverse": True}, ("target", "source")),
        (["a", "b"], {}, ("a", "b")),
        (["a", "b"], {"reverse": True}, ("b", "a")),
        (["a", "b"], {"source_language": "en", "target_language": "de"}, ("a", "b")),
        (["de", "en"], {}, ("de", "en")),
        (["de", "en"], {"target_language": "de"}, ("en", "de")),
        (["german", "english"], {"source_language": "en"}, ("english", "german")),
        (["id", "de", "en-us"], {}, ("de", "en-us")),
        (["de", "en", "fr"], {"source_language": "en", "target_language": "fr"}, ("en", "fr")),
        (["de", "en", "fr"], {"source_column": "FR", "target_column": "de"}, ("fr", "de")),
        (["x", "y"], {"source_column": "y"}, ("y", "x")),
        # Named languages choose before the order is reversed.
        (["de", "en"], {"source_language": "en", "reverse": True}, ("en", "de")),
    ],
)
def test_which_columns(columns, how, expected):
    assert choose_columns(columns, "x", PairFormat(**how)) == expected


@pytest.mark.parametrize(
    ("columns", "how", "fragment"),
    [
        (["a", "b", "c"], {}, "choose two with --source-column and --target-column"),
        (["a"], {}, "1 column,"),
        (["de", "en", "fr"], {}, "choose two with"),
        (["de", "en"], {"target_language": "es"}, "no language 'es'"),
        (["a", "b", "c"], {"source_column": "a"}, "--target-column"),
        (["a", "b", "c"], {"source_column": "a", "target_column": "d"}, "no column 'd': --target-column"),
        (["a", "b"], {"source_column": "a", "target_column": "A"}, "name two columns"),
        (["a", "b"], {"source_column": "a", "reverse": True}, "--reverse"),
    ],
)
def test_columns_that_cannot_be_chosen(columns, how, fragment):
    assert fragment in told(choose_columns, columns, "x", PairFormat(**how))


def test_names_of_languages():
    assert [language_code(name) for name in ("EN", "English", "eng", "zh_Hans", "ger", "pt-BR", "tok", "", "x")] == [
        *("en", "en", "en", "zh", "de", "pt", "", "", ""),
    ]
    assert is_language("en-GB", "EN") and is_language("deu", "de") and is_language("German", "de")
    assert not is_language("en-GB", "en-US") and not is_language("english", "de") and not is_language("x", "y")


# Tables of tabs


def test_blank_lines_of_a_table_are_passed_over(tmp_path, capsys):
    """Case 08, with the neighbours of its blank line."""
    lines = [f"{source}\t{target}\n" for source, target in ROWS]
    for blank in ("\n", " \n", "\t\n", "\r\n", "\u3000\n"):
        path = write(tmp_path / "pairs.tsv", blank + blank.join(lines) + blank * 3)
        assert loaded(path) == (ROWS, ("", ""))
    assert capsys.readouterr().err == ""
    text = told(pair_table.parse, "\n\na\tb\n\nx\n", "x.tsv")
    assert text.startswith("'x.tsv' line 5 has 1 column")  # as an editor counts them
    assert "is empty" in told(load_pairs, write(tmp_path / "blank.tsv", " \n\n"), ["train"])


@pytest.mark.parametrize("header", ["en\tde", "source\ttarget", "English\tGerman"])
def test_the_header_of_a_table_is_passed_over_and_that_is_said(tmp_path, capsys, header):
    path = write(tmp_path / "pairs.tsv", header + "\n" + "".join(f"{source}\t{target}\n" for source, target in ROWS))
    languages = ("", "") if "source" in header else ("en", "de")
    assert loaded(path) == (ROWS, languages)
    notice = capsys.readouterr().err
    assert repr(header.split("\t")[0]) in notice and "--no-header" in notice and notice.count("\n") == 1
    assert loaded(path, reverse=True)[0] == sorted(swapped(ROWS), key=lambda row: int(row[0].split()[-1]))
    if languages[0]:
        assert loaded(path, source_language="de")[0] == loaded(path, reverse=True)[0]
        assert loaded(path, source_language="de")[1] == ("de", "en")
    capsys.readouterr()
    with_header = load_pairs(path, ["all"], header=False)["all"]
    assert len(with_header.source) == 31 and header.split("\t")[0] in with_header.source
    assert capsys.readouterr().err == ""
    # And where a person says that there is one, the first row is none of the pairs, whatever it is.
    other = write(tmp_path / "other.tsv", "Satz\tSentence\n" + "a 1\tb 1\na 2\tb 2\n")
    assert loaded(other, header=True)[0] == [("a 1", "b 1"), ("a 2", "b 2")]


def test_tatoebas_four_columns(tmp_path):
    lines = [f"{1276 + at}\t{source}\t{77 * at}\t{target}\n" for at, (source, target) in enumerate(ROWS)]
    path = tmp_path / "Sentence pairs in English-German - 2024-01-01.tsv"
    path.write_bytes(b"\xef\xbb\xbf" + "".join(lines).encode())
    assert loaded(path)[0] == ROWS
    assert sorted(swapped(rows(load_pairs(path, ["all"], reverse=True)["all"]))) == sorted(ROWS)
    path.write_text("".join(lines) + "no number\ta\t1\tb\n")
    assert f"line {len(lines) + 1} has 4 columns: expected a number, a sentence" in told(load_pairs, path, ["all"])


def test_columns_of_a_table_by_name_and_number(tmp_path):
    lines = [f"{at}\t{target}\tx\t{source}\n" for at, (source, target) in enumerate(ROWS)]
    plain = write(tmp_path / "plain.tsv", "".join(lines))
    assert loaded(plain, source_column="4", target_column="2")[0] == ROWS
    named = write(tmp_path / "named.tsv", "id\tDeutsch\tnote\tEnglisch\n" + "".join(lines))
    assert loaded(named, source_column="englisch", target_column="Deutsch")[0] == ROWS
    assert "no column 'english'" in told(load_pairs, named, ["all"], source_column="english", target_column="2")
    write(named, "id\tDeutsch\tnote\tEnglisch\n" + lines[0] + "1\t2\n")
    text = told(load_pairs, named, ["all"], source_column="Englisch", target_column="Deutsch")
    assert "line 3 has 2 columns" in text
    for source in ("sample", tmp_path):
        assert "has no columns" in told(load_pairs, source, ["all"], source_column="a")


# CSV


def csv_of(pairs, between=",", header=""):
    def quoted(field):
        return '"' + field.replace('"', '""') + '"' if any(sign in field for sign in ',;"\n\t') else field

    return header + "".join(between.join(map(quoted, pair)) + "\n" for pair in pairs)


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize(("between", "named"), [(",", ""), (";", "semicolons"), ("\t", "tabs")])
def test_csv(tmp_path, capsys, between, named, packed):
    pairs = [*ROWS, ('He said "no" 30', "Er sagte,\n „nein“ 30")]
    expected = [*ROWS, ('He said "no" 30', "Er sagte, „nein“ 30")]
    path = write(tmp_path / "pairs.csv", csv_of(pairs, between, f"English{between}German\n\n"), packed)
    assert loaded(path) == (expected, ("en", "de"))
    notices = capsys.readouterr().err
    assert "['English', 'German'], is taken for the names of columns" in notices and named in notices
    assert loaded(write(tmp_path / "plain.csv", csv_of(pairs, between), packed))[0] == expected


def test_columns_of_csv(tmp_path, capsys):
    table = [(str(at), target, source, "x") for at, (source, target) in enumerate(ROWS)]
    path = write(tmp_path / "pairs.csv", csv_of(table, header="sep=,\nNumber,Deutsch,English text,Note\n"))
    assert loaded(path, source_column="english text", target_column="deutsch")[0] == ROWS
    assert capsys.readouterr().err == ""
    assert "--source-column and --target-column" in told(load_pairs, path, ["all"])
    assert loaded(write(tmp_path / "plain.csv", csv_of(table)), source_column="3", target_column="2")[0] == ROWS
    assert "is empty" in told(load_pairs, write(tmp_path / "empty.csv", "\n"), ["all"])
    text = told(load_pairs, write(tmp_path / "uneven.csv", "a,b\nc,d,e\n"), ["all"])
    assert "line 2: 3 fields where the first row has 2" in text
    assert pair_csv.parse("a,b\n", "x.csv").pairs == (["a"], ["b"])


# JSON Lines


def test_json_lines(tmp_path):
    flat = "\n".join(json.dumps({"id": at, "Source": a, "target": b}) for at, (a, b) in enumerate(ROWS))
    assert loaded(write(tmp_path / "flat.jsonl", flat + "\n\n")) == (ROWS, ("", ""))
    columns = "".join(json.dumps({"x": 1, "q": a, "a": b}, ensure_ascii=False) + "\n" for a, b in ROWS)
    path = write(tmp_path / "columns.ndjson", columns, ".gz")
    assert loaded(path, source_column="q", target_column="a")[0] == ROWS
    assert "choose two with" in told(load_pairs, path, ["all"])
    assert "'x' is 1: expected a text" in told(load_pairs, path, ["all"], source_column="q", target_column="x")
    # A column called "translation" may hold a sentence.
    plain = "".join(json.dumps({"sentence": a, "translation": b}) + "\n" for a, b in ROWS)
    assert loaded(write(tmp_path / "plain.jsonl", plain))[0] == ROWS


def test_translations_of_hugging_face(tmp_path):
    lines = "".join(json.dumps({"id": "1", "translation": {"de": b, "en": a}}) + "\n" for a, b in ROWS)
    path = write(tmp_path / "wmt.jsonl", lines)
    for how in (
        {"source_language": "en"},
        {"target_language": "de"},
        {"source_language": "en", "target_language": "de"},
    ):
        assert loaded(path, **how) == (ROWS, ("en", "de"))
    assert "choose two of them with --source-language" in told(load_pairs, path, ["all"])
    assert "no language 'fr'" in told(load_pairs, path, ["all"], source_language="fr")
    text = lines + json.dumps({"translation": "x"})
    assert "line 31" in told(pair_jsonl.parse, text, "x", PairFormat(source_language="en"))
    found = pair_jsonl.parse('{"translation": {"en": "a", "de": null}}', "x", PairFormat(source_language="en"))
    assert found.pairs == (["a"], [""])


# TMX


def tmx_of(pairs, languages=("en", "de"), header='srclang="en"', start='<?xml version="1.0"?>\n'):
    def variant(language, segment):
        return f"<tuv xml:lang={quoteattr(language)}><seg>{segment}</seg></tuv>"

    units = "".join(
        "<tu>" + "".join(variant(*side) for side in zip(languages, pair, strict=True)) + "</tu>\n" for pair in pairs
    )
    return f'{start}<tmx version="1.4"><header {header}/><body>\n{units}</body></tmx>\n'


ESCAPED = [tuple(map(escape, row)) for row in ROWS]


@pytest.mark.parametrize("packed", PACK)
def test_tmx(tmp_path, packed, capsys):
    path = write(tmp_path / "memory.tmx", tmx_of(ESCAPED), packed)
    assert loaded(path) == (ROWS, ("en", "de"))
    back = loaded(path, source_language="de")
    assert back[1] == ("de", "en") and sorted(swapped(back[0])) == sorted(ROWS)
    assert loaded(path, reverse=True)[1] == ("de", "en")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "iso-8859-1"])
def test_tmx_in_other_encodings(tmp_path, encoding):
    pairs = [(f"café {place}", f"Kaffee ä {place}") for place in range(20)]
    declared = encoding.removesuffix("-sig")
    text = tmx_of(pairs, start=f'<?xml version="1.0" encoding="{declared}"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n')
    (tmp_path / "memory.tmx").write_bytes(text.encode(encoding))
    assert loaded(tmp_path / "memory.tmx")[0] == pairs


def test_regions_of_languages_in_tmx(tmp_path, capsys):
    both = {"source_language": "en", "target_language": "DE"}
    path = write(tmp_path / "memory.tmx", tmx_of(ESCAPED, ("EN-us", "de-AT")))
    assert loaded(path, **both) == (ROWS, ("en", "de")) == loaded(path, source_language="EN-US")
    assert "no language 'en-GB'" in told(load_pairs, path, ["all"], source_language="en-GB", target_language="de")
    assert "no language 'fr'" in told(load_pairs, path, ["all"], source_language="en", target_language="fr")
    # The very language goes before others of its kind.
    several = [(f"colour {i}", f"color {i}", f"Farbe {i}") for i in range(9)]
    path = write(tmp_path / "three.tmx", tmx_of(several, ("en-GB", "en-US", "de")))
    assert loaded(path, source_language="en-us", target_language="de")[0] == [row[1:] for row in several]
    assert loaded(path, source_language="en", target_language="de")[0] == [(row[0], row[2]) for row in several]
    assert "choose two of them" in told(load_pairs, path, ["all"])
    # Units that lack one.
    mixed = tmx_of(ESCAPED).replace('xml:lang="de"', 'xml:lang="fr"', 4)
    capsys.readouterr()
    assert loaded(write(tmp_path / "mixed.tmx", mixed), **both)[0] == ROWS[4:]
    assert "4 units have not both 'en' and 'DE' and are left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("segment", "sentence"),
    [
        ('a <bpt i="1">&lt;b&gt;</bpt>bold<ept i="1">&lt;/b&gt;</ept> dog', "a bold dog"),
        ('see <hi type="term">the <hi>dog</hi></hi>.', "see the dog."),
        ('press <ph x="1">{0}<sub>help</sub></ph>now <it pos="begin">[b]</it>it <ut>u</ut>', "press now it "),
        ("\n   a\n      dog\n  ", "a dog"),
        ("&lt;p&gt; &amp; &#233;", "<p> & é"),
        ("<!-- a note -->dog", "dog"),
        ("<![CDATA[<b>]]>", "<b>"),
        ("", ""),
    ],
)
def test_what_stands_in_a_segment(tmp_path, segment, sentence):
    path = write(tmp_path / "memory.tmx", tmx_of([(segment, "Hund")]))
    assert pair_tmx.read(path).pairs == ([sentence], ["Hund"])


def test_tmx_of_a_namespace_and_of_old_attributes(tmp_path):
    text = tmx_of(ESCAPED).replace("<tmx ", '<tmx xmlns="http://www.lisa.org/tmx14" ')
    assert loaded(write(tmp_path / "new.tmx", text))[0] == ROWS
    assert loaded(write(tmp_path / "old.tmx", tmx_of(ESCAPED).replace("xml:lang", "lang")))[0] == ROWS


BOMB = "".join(f'<!ENTITY b{n + 1} "{f"&b{n};" * 10}">' for n in range(9))
HOSTILE = {
    "bomb": f'<!DOCTYPE tmx [<!ENTITY b0 "ha">{BOMB}]>',
    "local file": '<!DOCTYPE tmx [<!ENTITY b9 SYSTEM "file:///etc/passwd">]>',
    "network": '<!DOCTYPE tmx [<!ENTITY b9 SYSTEM "http://localhost:1/">]>',
    "parameter": '<!DOCTYPE tmx [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>',
}


@pytest.mark.parametrize("start", HOSTILE.values(), ids=HOSTILE)
def test_hostile_xml_is_refused(tmp_path, start):
    path = write(tmp_path / "memory.tmx", tmx_of([*ESCAPED, ("&b9;", "x")], start=start))
    text = told(load_pairs, path, ["all"])
    assert text.startswith(f"{str(path)!r} is refused: it defines entities or refers to other files")


def test_what_is_no_tmx(tmp_path):
    cut = write(tmp_path / "cut.tmx", tmx_of(ESCAPED)[:1500])
    assert "is no whole TMX" in told(load_pairs, cut, ["all"])
    for content in ("", "a\tb\n", "<tmx>", '<?xml version="1.0" encoding="klingon"?><tmx/>'):
        assert "is no whole TMX" in told(load_pairs, write(tmp_path / "no.tmx", content), ["all"])
    assert "has no translation unit" in told(load_pairs, write(tmp_path / "no.tmx", tmx_of([])), ["all"])
    (tmp_path / "cut.tmx.gz").write_bytes(
        gzip.compress(random.Random(0).randbytes(100) + tmx_of(ESCAPED).encode())[:90]
    )
    assert "cut.tmx.gz" in told(load_pairs, tmp_path / "cut.tmx.gz", ["all"])


def test_a_memory_is_read_unit_by_unit(tmp_path, monkeypatch):
    """What was read is let go of: the tree never holds more than what the parser reads at once."""
    held = []
    segments = pair_tmx._segments

    def watched(unit):
        held.append(sum(1 for _ in bodies[0].iter("tu")))
        return segments(unit)

    bodies = []
    iterparse = pair_tmx.iterparse

    def watching(*arguments):
        for event, element in iterparse(*arguments):
            if element.tag == "body" and event == "start":
                bodies.append(element)
            yield event, element

    monkeypatch.setattr(pair_tmx, "iterparse", watching)
    monkeypatch.setattr(pair_tmx, "_segments", watched)
    assert len(pair_tmx.read(write(tmp_path / "memory.tmx", tmx_of(ESCAPED * 50))).pairs.source) == 1500
    assert len(held) == 1500 and max(held) < 500


# Folders as OPUS and Moses name their files


def write_corpus(folder: Path, name: str, pairs, languages=("en", "de")) -> None:
    folder.mkdir(exist_ok=True)
    for language, side in zip(languages, zip(*pairs, strict=True), strict=True):
        (folder / f"{name}.{language}").write_text("".join(f"{sentence}\n" for sentence in side), encoding="utf-8")


def test_a_folder_of_a_corpus(tmp_path, capsys):
    write_corpus(tmp_path, "corpus.en-de", ROWS)
    (tmp_path / "README").write_text("x")
    (tmp_path / "corpus.en-de.xml").write_text("x")
    write_corpus(tmp_path, "other", ROWS[:1])
    (tmp_path / "corpus.en-de.xml").unlink()
    for how in ({"source_language": "en"}, {"target_language": "de"}):
        assert loaded(tmp_path, **how) == (ROWS, ("en", "de"))
    found = load_pairs(tmp_path, ["train", "validation"], source_language="de", validation_fraction=0.1)
    assert {split: len(pairs.source) for split, pairs in found.items()} == {"train": 27, "validation": 3}
    assert "choose two of them" in told(load_pairs, tmp_path, ["train"])
    assert "has no test part" in told(load_pairs, tmp_path, ["test"], source_language="en")
    capsys.readouterr()
    write_corpus(tmp_path, "Europarl.de-en", [(target, source) for source, target in ROWS[:2]], ("de", "en"))
    write_corpus(tmp_path, "News.en-fr", [("a 1", "b 1")], ("en", "fr"))
    both = {"source_language": "en", "target_language": "de"}
    assert sorted(loaded(tmp_path, **both)[0]) == sorted(ROWS + ROWS[:2])
    assert "2 corpora are read together: 'Europarl.de-en', 'corpus.en-de'" in capsys.readouterr().err
    assert loaded(tmp_path, source_language="en", target_language="fr")[0] == [("a 1", "b 1")]
    assert "named after both 'de' and 'fr'" in told(
        load_pairs, tmp_path, ["all"], source_language="de", target_language="fr"
    )


@pytest.mark.parametrize("names", ["{}.en-de", "opus.en-de-{}", "{}.de-en"])
def test_splits_with_the_pair_of_languages_in_their_names(tmp_path, names):
    parts = {"train": ROWS[:20], "validation": ROWS[20:25], "test": ROWS[25:]}
    for split, word in (("train", "train"), ("validation", "dev"), ("test", "test")):
        write_corpus(tmp_path, names.format(word), parts[split])
    found = load_pairs(tmp_path, ["train", "validation", "test"], source_language="en")
    assert {split: rows(pairs) for split, pairs in found.items()} == parts
