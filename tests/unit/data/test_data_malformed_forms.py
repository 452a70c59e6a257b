"""More malformed files with their written outcome: other encodings, archives, tables and forms of text.

A file of a form that calque does not read is refused by the name of that form; it never becomes pairs.
"""

import gzip
import io
import json
import pickle
import tarfile
from pathlib import Path

import pytest
from malformed_files import Bad, Case, hold_what_is_read, hold_what_is_refused, open_case

from calque.data.files.readers import Columns, open_dataset, pairs
from calque.errors import DataError, UsageError

AB, CD = ("a", "b"), ("c", "d")
TWO = b"a\tb\n"
CSV = b"source,target\n"
LINES = "".join(f"Größe {number}, bitte\tthe café {number}\n" for number in range(30))
JAPANESE = "".join(f"東京の天気 {number}\tthe weather {number}\n" for number in range(5))


def tar() -> bytes:
    """Return a tar archive of a file of pairs."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("pairs.tsv")
        entry.size = len(TWO)
        archive.addfile(entry, io.BytesIO(TWO))
    return stream.getvalue()


READ = [
    Case("gzip, two members", gzip.compress(b"a\tb\n") + gzip.compress(b"c\td\n"), [AB, CD], ".tsv.gz", "TSV, gzipped"),
    Case("gzip, zeros behind", gzip.compress(b"a\tb\n") + bytes(512), [AB], ".tsv.gz", "TSV, gzipped"),
    Case("BOMs of joined files", "\ufeffa\tb\n\ufeffc\td\n".encode(), [AB, ("\ufeffc", "d")]),
    Case("three BOMs", "\ufeff\ufeff\ufeffa\tb\n".encode(), [("\ufeff\ufeffa", "b")]),
    Case("BOM in a CSV header", b"\xef\xbb\xbf" + b'"source","target"\n"a","b"\n', [AB], ".csv", "CSV"),
    Case("CRLF without a last newline", b"a\tb\r\nc\td", [AB, CD]),
    Case("two CRs before the newline", b"a\tb\r\r\nc\td\n", [("a", "b "), CD], joined=1),
    Case("separators of lines", "a\u2029x\tb\x1d\x1e\nc\td\n".encode(), [("a\u2029x", "b\x1d\x1e"), CD]),
    Case("escape character", b"a\x1b[1mx\tb\n", [("a\x1b[1mx", "b")]),
    Case("plus signs", b"1+two\tC++ +3\na+b\tx\n", [("1+two", "C++ +3"), ("a+b", "x")]),
    Case("names of magic numbers", b"ORC and PAR1\tb\nRar!\tBZh\n", [("ORC and PAR1", "b"), ("Rar!", "BZh")]),
    Case("lexicon with spaces", b"A AH0\nB B IY1\nC S IY1\n", [("A", "AH0"), ("B", "B IY1"), ("C", "S IY1")], ".txt",
         "a pronunciation dictionary"),
    Case("tags are text", b"<b>a</b>\t<p>\n<doc>\td\n", [("<b>a</b>", "<p>"), ("<doc>", "d")]),
    Case("marked up sentences", (b"<g>a</g> x\n<b>c</b>\n", b"b\nd\n"), [("<g>a</g> x", "b"), ("<b>c</b>", "d")], "",
         "two plain files"),
    Case("csv, names of other columns twice", b"x,x,source,target\n1,2,a,b\n", [AB], ".csv", "CSV"),
    Case("csv, other quotation marks", CSV + b"'a',b\n", [("'a'", "b")], ".csv", "CSV"),
    Case("csv, semicolons in texts", CSV + b"a;x,b;y\n", [("a;x", "b;y")], ".csv", "CSV"),
    Case("csv, a newline in the header", b'"no\nte",source,target\n1,a,b\n', [AB], ".csv", "CSV"),
    Case("csv, quoted emptiness", CSV + b'"",""\na,b\n', [("", ""), AB], ".csv", "CSV"),
    Case("jsonl, other keys twice", b'{"id": 1, "source": "a", "id": 2, "target": "b"}\n', [AB], ".jsonl", "JSONL"),
    Case("jsonl, NaN beside", b'{"source": "a", "target": "b", "score": NaN}\n', [AB], ".jsonl", "JSONL"),
    Case("jsonl, escapes", b'{"source": "\\u0061", "target": "\\ud83d\\ude00"}\n', [("a", "😀")], ".jsonl", "JSONL"),
    Case("jsonl, spaces before", b'  {"source": "a", "target": "b"}\n', [AB], ".jsonl", "JSONL"),
    Case("invisible lines", "a\tb\n\u200b\n\u3164\t\ufeff\n".encode(), [AB, ("", ""), ("\u3164", "\ufeff")]),
    Case("fillers", "a\u3164\t\u2800b\n".encode(), [("a\u3164", "\u2800b")]),
    Case("noncharacters", "a\ufffe\tb\uffff\n".encode(), [("a\ufffe", "b\uffff")]),
    Case("mixed normal forms", "e\u0301\té\n".encode(), [("e\u0301", "é")]),
    Case("lexicon with tabs", b"<eps>\tSIL\nbanon\tB AE1 N\n", [("<eps>", "SIL"), ("banon", "B AE1 N")]),
]  # fmt: skip

SRT = b"1\n00:00:01,000 --> 00:00:02,500\nGood day\n\n2\n"
SGM = b'<srcset setid="x">\n<doc docid="d">\n<p>\n<seg id="1">a</seg>\n</p>\n</doc>\n</srcset>\n'
TMX = b'<?xml version="1.0"?>\n<tmx version="1.4">\n\t<tu><tuv xml:lang="en"><seg>a</seg></tuv></tu>\n</tmx>\n'
REFUSED = [
    Bad("UTF-7", LINES.encode("utf-7"), 1, 0, "iconv -f UTF-7"),
    Bad("UTF-7, Japanese", JAPANESE.encode("utf-7"), 1, 0, "iconv -f UTF-7"),
    Bad("UTF-7, marked", b"+/v8-a\tb\n", 1, 0, "iconv -f UTF-7"),
    Bad("ISO-2022-JP", JAPANESE.encode("iso2022_jp"), 1, 0, "iconv -f ISO-2022-JP"),
    Bad("ISO-2022-KR", "서울\tSeoul\n".encode("iso2022_kr"), 1, 0, "iconv -f ISO-2022-KR"),
    Bad("Shift-JIS", TWO + "東京の天気\tx\n".encode("shift_jis"), 2, 0, "iconv", [AB]),
    Bad("EBCDIC", "good day\tmany thanks\n".encode("cp037"), 1, 0, "iconv"),
    Bad("UTF-32 LE without a mark", LINES.encode("utf-32-le"), 1, 0, "iconv -f UTF-32LE"),
    Bad("UTF-8, then Latin-1", TWO + "schön\tx\n".encode() + "schön\tx\n".encode("latin-1"), 3, 3, "WINDOWS-1252",
        [AB, ("schön", "x")]),
    Bad("UTF-8, then UTF-16", LINES.encode() + "é\tx\n".encode("utf-16"), 31, 0, "iconv",
        [tuple(line.split("\t")) for line in LINES.splitlines()]),
    Bad("five bytes long", TWO + b"x\xf8\x88\x80\x80\x80\ty\n", 2, 1, "iconv", [AB]),
    Bad("beyond Unicode", TWO + b"x\xf4\x90\x80\x80\ty\n", 2, 1, "iconv", [AB]),
    Bad("CESU-8", TWO + b"x\xed\xa0\xbd\xed\xb8\x80\ty\n", 2, 1, "iconv", [AB]),
    Bad("gzip, text behind", gzip.compress(TWO) + b"more text", None, None, "gzip -t"),
    Bad("gzip of gzip", gzip.compress(gzip.compress(TWO)), None, None, "gunzip"),
    Bad("gzip, head alone", gzip.compress(TWO)[:8], None, None, "gzip -t"),
    Bad("gzip of a zip", gzip.compress(b"PK\x03\x04 and so on"), None, None, "unpack it"),
    Bad("gzip of a tar", gzip.compress(tar()), None, None, "tar archive"),
    Bad("tar", tar(), None, None, "tar archive"),
    Bad("bzip2", b"BZh91AY&SY\x00\x01\xff", None, None, "bunzip2"),
    Bad("zstd", b"\x28\xb5\x2f\xfd\x04\x00", None, None, "unzstd"),
    Bad("7z", b"7z\xbc\xaf\x27\x1c\x00", None, None, "7z archive"),
    Bad("Parquet", b"PAR1\x15\x04\x00\xff", None, None, "read_parquet"),
    Bad("Arrow", b"ARROW1\x00\x00\xff", None, None, "Arrow table"),
    Bad("old office document", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", None, None, "save it as TSV"),
    Bad("PDF", b"%PDF-1.7\n%\xe2\xe3", None, None, "extract its text"),
    Bad("RTF", b"{\\rtf1\\ansi a\tb}\n", None, None, "plain text"),
    Bad("SQLite", b"SQLite format 3\0\x10\x00", None, None, "export"),
    Bad("pickle", pickle.dumps([AB]), None, None, "pickle"),
    Bad("old Mac with one newline", b"a\tb\rc\td\re\tf\n", None, None, "tr '\\r' '\\n'"),
    Bad("old Mac, two files", (b"a\rc\re\n", b"b\rd\rf\n"), None, None, "tr '\\r' '\\n'"),
    Bad("semicolons", b"\xef\xbb\xbfsource;target\r\na, x;b\r\n", 1, None, "delimiter=';'", suffix=".csv"),
    Bad("semicolons and quotes", b'"source";"target"\n"a";"b"\n', 1, None, "delimiter=';'", suffix=".csv"),
    Bad("semicolons, other names", b"en;de\na;b\nc;d\n", 1, None, "delimiter=';'", suffix=".csv"),
    Bad("semicolons, another ending", b"source;target\na;b\n", 1, None, "delimiter=';'", suffix=".txt"),
    Bad("sep= of a spreadsheet", b"sep=;\r\nsource;target\r\na;b\r\n", 1, None, "tail -n +2", suffix=".csv"),
    Bad("vertical bars", b"a ||| b\nc ||| d\n", 1, None, "sed", suffix=".txt"),
    Bad("commas without names", b"a,b\nc,d\n", 1, None, "source,target", suffix=".txt"),
    Bad("csv, a column named twice", b"source,target,source\na,b,c\n", 1, None, "twice", suffix=".csv"),
    Bad("tsv, a column named twice", b"source\ttarget\ttarget\na\tb\tc\n", 1, None, "twice"),
    Bad("quoted names", b'"source"\t"target"\n"a"\t"b"\n', 1, None, "data.columns.quoting=csv"),
    Bad("jsonl, a key twice", b'{"source": "a", "source": "x", "target": "b"}\n', 1, None, "twice", None, ".jsonl"),
    Bad("jsonl, NaN", b'{"source": NaN, "target": "b"}\n', 1, None, "a number", None, ".jsonl"),
    Bad("jsonl, Infinity", b'{"source": "a", "target": [-Infinity]}\n', 1, None, "a number", None, ".jsonl"),
    Bad("jsonl, true", b'{"source": "a", "target": true}\n', 1, None, "must be a text", None, ".jsonl"),
    Bad("jsonl, a list of lists", b'{"source": "a", "target": [["b"]]}\n', 1, None, "must be a text", None, ".jsonl"),
    Bad("jsonl, two objects", b'{"source": "a", "target": "b"} {"x": 1}\n', 1, 31, "one object", None, ".jsonl"),
    Bad("jsonl, a comma behind", b'{"source": "a", "target": "b"},\n', 1, 30, "one object", None, ".jsonl"),
    Bad("jsonl, single quotation marks", b"{'source': 'a', 'target': 'b'}\n", 1, 1, "one object", None, ".jsonl"),
    Bad("jsonl, deep beside", b'{"source": "a", "target": "b", "x": ' + b"[" * 10**5 + b"\n", 1, None, "too deep", None,
        ".jsonl"),
    Bad("jsonl, nested pairs", b'{"translation": {"en": "a", "ro": "b"}}\n', 1, None, 'target: ."ro"', None, ".jsonl"),
    Bad("jsonl, nested answers", b'{"source": "a", "target": {"text": ["b"]}}\n', 1, None, "jq", None, ".jsonl"),
    Bad("SQuAD", json.dumps({"version": 2, "data": [{"paragraphs": []}]}).encode(), 1, None, "SQuAD", None, ".json"),
    Bad("JSON over several lines", b'{\n  "source": "a",\n  "target": "b"\n}\n', 1, None, "jq", None, ".json"),
    Bad("SGML", SGM, 1, None, "<seg"),
    Bad("SGML, two files", (SGM, SGM), 1, None, "<seg"),
    Bad("TMX", TMX, 1, None, "TMX"),
    Bad("HTML", b"<!DOCTYPE html>\n<p>a\tb</p>\n", 1, None, "XML or SGML"),
    Bad("IWSLT, two files", (b"<url>http://x</url>\na\n", b"<url>http://x</url>\nb\n"), 1, None, "XML or SGML"),
    Bad("subtitles, two files", (SRT, SRT), 1, None, "a subtitle file"),
    Bad("WEBVTT, two files", (b"WEBVTT\n\na\n", b"WEBVTT\n\nb\n"), 1, None, "a subtitle file"),
    Bad("gettext", b'# note\nmsgid "a"\nmsgstr "b"\n', 1, None, "PO"),
    Bad("four columns", b"1\ta\t2\tb\n3\tc\t4\td\n", 1, None, "cut -f"),
]  # fmt: skip


@pytest.mark.parametrize("case", READ, ids=lambda case: case.name)
def test_other_forms_that_are_read(case: Case, tmp_path: Path) -> None:
    """Give exactly the texts of the file."""
    hold_what_is_read(case, tmp_path)


@pytest.mark.parametrize("bad", REFUSED, ids=lambda bad: bad.name)
def test_other_forms_that_are_refused(bad: Bad, tmp_path: Path) -> None:
    """Name file, line and byte, and how to fix it."""
    hold_what_is_refused(bad, tmp_path)


@pytest.mark.parametrize("bad", [bad for bad in REFUSED if bad.others], ids=lambda bad: bad.name)
def test_only_the_bad_line_is_lost(bad: Bad, tmp_path: Path) -> None:
    """Skip the bad line and read all others."""
    errors: list[DataError] = []
    assert list(pairs(open_case(tmp_path, bad.content, bad.suffix).examples(errors.append))) == bad.others
    assert (errors[0].line, errors[0].byte) == (bad.line, bad.byte)


@pytest.mark.parametrize("head", [CSV, b'{"source": "a", "target": "b"}\n', b"source\ttarget\n"])
def test_two_data_sets_are_no_two_sides(head: bytes, tmp_path: Path) -> None:
    """Refuse two files that each contain pairs, whatever their form."""
    paths = [tmp_path / name for name in ("train.x", "valid.x")]
    for path in paths:
        path.write_bytes(head + b"a,b\n" * 3)
    with pytest.raises(UsageError, match="--valid"):
        open_dataset([str(path) for path in paths], Columns())


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom", "/dev/full"])
def test_endless_devices_are_refused(device: str) -> None:
    """Refuse a device at once instead of copying it for ever."""
    with pytest.raises(UsageError, match="is a device"):
        open_dataset([device], Columns())
    with pytest.raises(DataError, match="empty"):
        open_dataset(["/dev/null"], Columns())
