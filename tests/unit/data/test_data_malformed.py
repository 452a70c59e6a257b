"""Hold every malformed file to its written outcome: the exact texts, or the error's place and how to fix it.

Nothing may be read silently as something else than the file contains.
"""

import gzip
from pathlib import Path

import pytest
from malformed_files import Bad, Case, hold_what_is_read, hold_what_is_refused, open_case

from calque.data.files.readers import Columns, open_dataset, pairs
from calque.errors import CalqueError, DataError

AB, CD = ("a", "b"), ("c", "d")
CSV = b"source,target\n"
READ = [
    Case("plain", b"a\tb\nc\td\n", [AB, CD]),
    Case("one pair", b"a\tb\n", [AB]),
    Case("no final newline", b"a\tb\nc\td", [AB, CD]),
    Case("BOM first", b"\xef\xbb\xbfa\tb\nc\td\n", [AB, CD]),
    Case("BOM twice", b"\xef\xbb\xbf\xef\xbb\xbfa\tb\n", [("\ufeffa", "b")]),
    Case("BOM in the middle", b"a\xef\xbb\xbfx\tb\n\xef\xbb\xbfc\td\n", [("a\ufeffx", "b"), ("\ufeffc", "d")]),
    Case("CRLF", b"a\tb\r\nc\td\r\n", [AB, CD]),
    Case("mixed CRLF", b"a\tb\r\nc\td\n", [AB, CD]),
    Case("CR inside a line", b"a\rx\tb\nc\td\n", [("a x", "b"), CD], joined=1),
    Case("one line ended by CR", b"a\tb\r", [AB]),
    Case("U+2028", "a\u2028x\tb\nc\td\n".encode(), [("a\u2028x", "b"), CD]),
    Case("U+0085", "a\x85x\tb\nc\td\n".encode(), [("a\x85x", "b"), CD]),
    Case("U+001C", b"a\x1cx\tb\x0bx\x0c\nc\td\n", [("a\x1cx", "b\x0bx\x0c"), CD]),
    Case("blank source", b"\tb\nc\td\n", [("", "b"), CD]),
    Case("blank target", b"a\t\nc\td\n", [("a", ""), CD]),
    Case("blank both", b"\t\nc\td\n", [("", ""), CD]),
    Case("blank line", b"a\tb\n\nc\td\n\n", [AB, ("", ""), CD, ("", "")]),
    Case("white space only", b" \t\xe3\x80\x80\nc\td\n", [(" ", "\u3000"), CD]),
    Case("line of 1 MB", b"a" * 10**6 + b"\tb\n", [("a" * 10**6, "b")]),
    Case("duplicates", b"a\tb\na\tb\n", [AB, AB]),
    Case("source equals target", b"a\ta\n", [("a", "a")]),
    Case("RTL", "שלום\tمرحبا\n".encode(), [("שלום", "مرحبا")]),
    Case("RTL marks", "\u202ea\u202c\tb\n".encode(), [("\u202ea\u202c", "b")]),
    Case("ZWJ", "👩\u200d🚀\tb\n".encode(), [("👩\u200d🚀", "b")]),
    Case("combining", "e\u0301\té\n".encode(), [("e\u0301", "é")]),
    Case("emoji", "😀👍🏽\t🇨🇳\n".encode(), [("😀👍🏽", "🇨🇳")]),
    Case("private use", "\ue000\t\U0010fffd\n".encode(), [("\ue000", "\U0010fffd")]),
    Case("special tokens", b"</s> a\t<pad><unk>\n", [("</s> a", "<pad><unk>")]),
    Case("quotes are text in TSV", b'"a\tb"\n', [('"a', 'b"')]),
    Case("gzip", gzip.compress(b"a\tb\nc\td\n"), [AB, CD], ".tsv.gz", "TSV, gzipped"),
    Case("gzip by content", gzip.compress(b"a\tb\n"), [AB], ".tsv", "TSV, gzipped"),
    Case("named gz, but plain", b"a\tb\n", [AB], ".tsv.gz"),
    Case("header", b"id\ttarget\tsource\n1\tb\ta\n", [AB], ".tsv", "TSV with a header"),
    Case("braces are text", b'{"a"}\tb\n', [('{"a"}', "b")]),
    Case("csv", CSV + b"a,b\nc,d\n", [AB, CD], ".csv", "CSV"),
    Case("csv by content", b'"id","target","source"\n1,b,a\n', [AB], ".txt", "CSV"),
    Case("csv quotes", CSV + b'"a, ""x""",b\n', [('a, "x"', "b")], ".csv", "CSV"),
    Case("csv newline", CSV + b'"a\r\nx\ny",b\nc,d\n', [("a x y", "b"), CD], ".csv", "CSV", 2),
    Case("csv tab", CSV + b"a\tx,b\n", [("a x", "b")], ".csv", "CSV", 1),
    Case("csv blank", CSV + b"\n,b\na,b\n", [("", ""), ("", "b"), AB], ".csv", "CSV"),
    Case("csv BOM", b"\xef\xbb\xbf" + CSV + b"a,b\n", [AB], ".csv", "CSV"),
    Case("csv 1 MB", CSV + b"a" * 10**6 + b",b\n", [("a" * 10**6, "b")], ".csv", "CSV"),
    Case("jsonl", b'{"source": "a", "target": "b", "id": 7}\n\n', [AB, ("", "")], ".jsonl", "JSONL"),
    Case("jsonl by content", b'{"target": "b", "source": "a"}', [AB], ".txt", "JSONL"),
    Case("jsonl newline", b'{"source": "a\\nx\\ty", "target": "b"}\n', [("a x y", "b")], ".jsonl", "JSONL", 2),
    Case("two files", (b"a\nc\n", b"b\nd\n"), [AB, CD], "", "two plain files"),
    Case("two files, no final newline", (b"a\nc", b"b\r\nd\n"), [AB, CD], "", "two plain files"),
    Case("two files, blank", (b"a\n\n", b"b\n\n"), [AB, ("", "")], "", "two plain files"),
    Case("two files, tabs", (b"a\tx\ty\n", b"b\n"), [("a x y", "b")], "", "two plain files", 2),
    Case("two files, U+2028", ("a\u2028x\nc\n".encode(), b"b\nd\n"), [("a\u2028x", "b"), CD], "", "two plain files"),
    Case("two files, one gzipped", (gzip.compress(b"a\n"), b"b\n"), [AB], "", "two plain files, gzipped"),
]

TWO = b"a\tb\n"
GZIP = gzip.compress(b"".join(b"line %d\t%d\n" % (number, number * 7919) for number in range(20000)))
WIDE = "good day\t你好\nmany thanks\t谢谢\n"
REFUSED = [
    Bad("lone continuation", TWO + b"x\x80\ty\n", 2, 1, "iconv", [AB]),
    Bad("overlong", TWO + b"xy\xc0\xaf\ty\n", 2, 2, "iconv", [AB]),
    Bad("surrogate", TWO + b"x\xed\xa0\x80\ty\n", 2, 1, "iconv", [AB]),
    Bad("cut at the end of a line", TWO + b"x\ty\xe4\xbd\n" + TWO, 2, 3, "iconv", [AB, AB]),
    Bad("0xFF", b"\xff\tx\n" + TWO, 1, 0, "iconv", [AB]),
    Bad("Latin-1", TWO + b"caf\xe9\tx\n", 2, 3, "WINDOWS-1252", [AB]),
    Bad("German in Latin-1", TWO + b"K\xe4se, Gr\xfc\xdfe\tx\n", 2, 1, "WINDOWS-1252", [AB]),
    Bad("Chinese in GBK", TWO + "再见吧，上海".encode("gbk") + b"\tx\n", 2, 0, "GB18030", [AB]),
    Bad("byte after a BOM", b"\xef\xbb\xbfx\x80\ty\n" + TWO, 1, 4, "iconv", [AB]),
    Bad("UTF-16 LE, BOM", b"\xff\xfe" + WIDE.encode("utf-16-le"), 1, 0, "iconv -f UTF-16 -t UTF-8"),
    Bad("UTF-16 BE, BOM", b"\xfe\xff" + WIDE.encode("utf-16-be"), 1, 0, "iconv -f UTF-16 -t UTF-8"),
    Bad("UTF-16 LE", WIDE.encode("utf-16-le"), 1, 0, "iconv -f UTF-16LE -t UTF-8"),
    Bad("UTF-16 BE", WIDE.encode("utf-16-be"), 1, 0, "iconv -f UTF-16BE -t UTF-8"),
    Bad("UTF-16 LE, Chinese", "上海\t再见吧\n".encode("utf-16-le"), 1, 0, "iconv -f UTF-16LE"),
    Bad("UTF-32, BOM", WIDE.encode("utf-32"), 1, 0, "iconv -f UTF-32"),
    Bad("UTF-32 BE", WIDE.encode("utf-32-be"), 1, 0, "iconv -f UTF-32BE"),
    Bad("NUL", TWO + b"x\0\ty\n", 2, 1, "tr -d", [AB]),
    Bad("NUL, a blank in UTF-16", b"a\tb\n \0x\ty\n", 2, 1, "tr -d", [AB]),
    Bad("NUL and bad UTF-8", TWO + b"x\0\xff\ty\n", 2, 2, "iconv", [AB]),
    Bad("CR only", b"a\tb\rc\td\r", None, None, "tr '\\r' '\\n'"),
    Bad("empty", b"", None, None, "one pair per line"),
    Bad("empty, gzipped", gzip.compress(b""), None, None, "one pair per line"),
    Bad("BOM alone", b"\xef\xbb\xbf", None, None, "one pair per line"),
    Bad("only blanks", b"\n \n\r\n", None, None, "one pair per line"),
    Bad("no usable pair", b"\tb\na\t\n", None, None, "no usable pair"),
    Bad("two files, only blanks", (b"\n\n", b"\n\n"), None, None, "no usable pair"),
    Bad("no tab", TWO + b"xy\n", 2, None, "put a tab", [AB]),
    Bad("no tab first", b"xy\n" + TWO, 1, None, "put a tab", [AB]),
    Bad("3 tabs", TWO + b"x\ty\tz\tw\n", 2, None, "calque check FILE --fix OUT", [AB]),
    Bad("3 columns without a header", b"x\ty\tz\n", 1, None, "data.columns.source", None),
    Bad("header, too few", b"id\ttarget\tsource\n1\tb\n2\tb\ta\n", 2, None, "header has 3", [AB]),
    Bad("one column", b"xy\nz\n", 1, None, "two files"),
    Bad("cut gzip", GZIP[:-4000], None, None, "gzip -t"),
    Bad("damaged gzip", GZIP[:9000] + b"\0" * 64 + GZIP[9064:], None, None, "gzip -t"),
    Bad("zip", b"PK\x03\x04 and so on", None, None, "unpack"),
    Bad("csv without header", b"a,b\nc,d\n", 1, None, "data.columns.source", suffix=".csv"),
    Bad("csv, bad header line", b"source,target\xff\na,b\n", 1, 13, "iconv", suffix=".csv"),
    Bad("csv, a comma", CSV + b"a,b\nx,y,z\n", 3, None, "contains a comma", [AB], ".csv"),
    Bad("csv, open quote", CSV + b'a,b\nc,"d\ne,f\n', 3, None, "none closes it (2 lines are lost)", [AB], ".csv"),
    Bad("csv, text after a quote", CSV + b'"x"y,z\na,b\n', 2, None, 'as ""', [AB], ".csv"),
    Bad("csv, bad bytes in quotes", CSV + b'"x\n\xffy",z\na,b\n', 3, 0, "iconv", [AB], ".csv"),
    Bad("csv, bare CR", CSV + b"x\ry,z\na,b\n", 2, None, "in quotation marks", [AB], ".csv"),
    Bad("jsonl, wrong keys", b'{"sorce": "a", "target": "b"}\n', 1, None, 'Did you mean "sorce"?', None, ".jsonl"),
    Bad("jsonl, no target", b'{"source": "a"}\n', 1, None, 'the keys are "source"', None, ".jsonl"),
    Bad("jsonl, number", b'{"source": 3, "target": "b"}\n', 1, None, "a number", None, ".jsonl"),
    Bad("jsonl, null", b'{"source": "a", "target": null}\n', 1, None, "null", None, ".jsonl"),
    Bad("jsonl, list of numbers", b'{"source": "a", "target": ["b", 1]}', 1, None, "a number", None, ".jsonl"),
    Bad("jsonl, list with null", b'{"source": "a", "target": [null]}', 1, None, "null", None, ".jsonl"),
    Bad("jsonl, no answer", b'{"source": "a", "target": []}', 1, None, "at least one", None, ".jsonl"),
    Bad("jsonl, no object", b'{"source": "a", "target": "b"}\n[1]\n', 2, None, "a list instead", [AB], ".jsonl"),
    Bad("jsonl, broken", b'{"source": "a", "target": "b"}\n{"source" "x"}\n', 2, 10, "one object", [AB], ".jsonl"),
    Bad("jsonl, broken first", b'{"source": "a" "target": "b"}\n', 1, 15, "one object", None, ".jsonl"),
    Bad("jsonl, half a pair", b'{"source": "\\ud800", "target": "b"}\n', 1, None, "surrogate", None, ".jsonl"),
    Bad("jsonl, NUL", b'{"source": "\\u0000", "target": "b"}\n', 1, None, "NUL", None, ".jsonl"),
    Bad("jsonl, deep", b'{"source": ' + b"[" * 10**5 + b"\n", 1, None, "too deep", None, ".jsonl"),
    Bad("jsonl, long number", b'{"source": ' + b"7" * 5000 + b"}\n", 1, None, "too long", None, ".jsonl"),
    Bad("json list of texts", b'["a",\n"b"]\n', 1, None, "not objects", None, ".json"),
    Bad("two files, bad bytes left", (b"x\xff\nc\n", b"b\nd\n"), 1, 1, "iconv", [CD]),
    Bad("two files, bad bytes right", (b"a\nc\n", b"b\nd\xff\n"), 2, 1, "iconv", [AB]),
]


@pytest.mark.parametrize("case", READ, ids=lambda case: case.name)
def test_what_is_read(case: Case, tmp_path: Path) -> None:
    """Give exactly the texts of the file."""
    hold_what_is_read(case, tmp_path)


@pytest.mark.parametrize("bad", REFUSED, ids=lambda bad: bad.name)
def test_what_is_refused(bad: Bad, tmp_path: Path) -> None:
    """Name file, line and byte, and how to fix it."""
    hold_what_is_refused(bad, tmp_path)


@pytest.mark.parametrize("bad", [bad for bad in REFUSED if bad.others], ids=lambda bad: bad.name)
def test_bad_lines_can_be_skipped(bad: Bad, tmp_path: Path) -> None:
    """Lose the bad line and nothing else, and say so."""
    errors: list[DataError] = []
    dataset = open_case(tmp_path, bad.content, bad.suffix)
    assert list(pairs(dataset.examples(errors.append))) == bad.others
    assert [(error.line, error.byte) for error in errors] == [(bad.line, bad.byte)]


def test_only_bad_lines_are_no_data_set(tmp_path: Path) -> None:
    """Refuse to end a pass without a usable pair, naming the first bad line."""
    dataset = open_case(tmp_path, b"a\tb\tc\n", ".tsv")
    with pytest.raises(DataError, match=r"no usable pair.*data\.tsv:1"):
        list(dataset.examples(lambda error: None))


def test_every_error_is_calque_s_own(tmp_path: Path) -> None:
    """Never answer bytes of any kind with an error that is not ours."""
    seeds = [case.content for case in READ if isinstance(case.content, bytes) and len(case.content) < 200]
    path = tmp_path / "data.tsv"
    for number, seed in enumerate(seeds * 8):
        place = number * 7 % len(seed)
        path.write_bytes(seed[:place] + bytes([number * 31 % 256]) + seed[place + 1 :])
        try:
            dataset = open_dataset([str(path)], Columns())
            for example in dataset.examples():
                assert not set("\n\r\t\0") & set("".join((example.source, *example.targets)))
        except CalqueError:
            continue
