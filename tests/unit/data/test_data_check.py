"""Hold the check to counts made another way, and the clean copy to what a plain set of pairs would keep."""

import json
import random
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from calque.data.check.dataset import check_dataset
from calque.data.check.fix import fix_dataset
from calque.data.check.report import CheckReport, Finding
from calque.data.check.tally import Tally, quantile, sorted_keys
from calque.data.files.readers import Columns, Dataset, open_dataset, pairs
from calque.errors import DataError, ResourceError, UsageError
from calque.text.scripts import script_of


def opened(path: Path, data: bytes | str) -> Dataset:
    """Write and open a file of pairs."""
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    return open_dataset([str(path)], Columns())


def finding(report: CheckReport, kind: str) -> Finding:
    """Return the finding of one kind."""
    (found,) = [found for found in report.findings if found.kind == kind]
    return found


def faulty(seed: int, count: int = 3000) -> list[tuple[str, str]]:
    """Return random pairs with repeats of pairs and of sources."""
    draw = random.Random(seed)
    return [(f"source {draw.randint(0, 800)}", f"答 {draw.randint(0, 3)}") for _ in range(count)]


def test_repeats_agree_with_sets(tmp_path: Path) -> None:
    """Count repeats and conflicts as dictionaries of the whole texts do."""
    rows = faulty(1)
    report = check_dataset(opened(tmp_path / "x.tsv", "".join(f"{a}\t{b}\n" for a, b in rows)))
    targets: dict[str, set[str]] = {}
    for source, target in rows:
        targets.setdefault(source, set()).add(target)
    assert report.duplicate_pairs == len(rows) - len(set(rows)) > 0
    assert report.conflicting_sources == sum(len(found) > 1 for found in targets.values()) > 0
    assert report.usable == report.pairs == len(rows)


def test_overlap_agrees_with_sets(tmp_path: Path) -> None:
    """Count the test pairs whose source or whole pair is among the training pairs."""
    train, test = faulty(1, 300), faulty(2, 500)
    report = check_dataset(
        opened(tmp_path / "x.tsv", "".join(f"{a}\t{b}\n" for a, b in train)),
        opened(tmp_path / "test.tsv", "".join(f"{a}\t{b}\n" for a, b in test)),
    )
    assert report.overlap is not None
    sources = {source for source, _ in train}
    assert report.overlap.same_source == sum(source in sources for source, _ in test) > 0
    assert report.overlap.same_pair == sum(pair in set(train) for pair in test) > 0
    assert not report.overlap.swapped
    assert report.findings[0].kind == "overlap"


def test_lengths_agree_with_numpy(tmp_path: Path) -> None:
    """Give quantiles that the sorted lengths give."""
    draw = random.Random(0)
    lengths = [draw.randint(1, 300) for _ in range(999)]
    report = check_dataset(opened(tmp_path / "x.tsv", "".join(f"{'é' * n}\tb{n}\n" for n in lengths)))
    assert report.source.median == np.median(lengths)
    assert report.source.most == np.quantile(lengths, 0.95, method="inverted_cdf")
    assert report.source.longest == max(lengths)
    assert quantile(Counter([7]), 0.95) == 7


def test_each_fault_is_found(tmp_path: Path) -> None:
    """Find every kind of fault once, with its line, the errors first."""
    good = [f"a plain line number {number} of the set\t这是第 {number} 行的文字\n" for number in range(40)]
    bad = [
        b"no tab\n",
        b"\xff\tx\n",
        "\t空\n".encode(),
        b"blank\t \n",
        b"\t\n",
        b"equal\tequal\n",
        "文字在左边的很长的一行\tleft\n".encode(),
        ("short\t" + "长" * 300 + "\n").encode(),
        "the </s> of a line\t一行的结尾处\n".encode(),
        "a\u2028line\ufeff\t一行文字\n".encode(),
        b"cr\rinside\t\xe8\xa1\x8c\n",
        good[3].encode(),
        good[4].replace("这", "那").encode(),
    ]
    report = check_dataset(opened(tmp_path / "x.tsv", "".join(good).encode() + b"".join(bad)))
    kinds = {found.kind: found for found in report.findings}
    expected = {
        "bad_lines": (41, 42),
        "blank_source": (43,),
        "blank_target": (44,),
        "blank_both": (45,),
        "equal_sides": (46,),
        "swapped": (47,),
        "length_ratio": (48,),
        "special_text": (49,),
        "odd_characters": (50,),
    }
    for kind, lines in expected.items():
        assert kinds[kind].lines == lines, kind
    assert kinds.keys() - expected.keys() == {"joined_newlines", "duplicate_pairs", "conflicting_sources"}
    assert all(kinds[kind].count == 1 for kind in kinds if kind != "bad_lines")
    assert report.odd_characters == {"U+2028": 1, "U+FEFF": 1}
    assert [found.level for found in report.findings] == sorted(
        (found.level for found in report.findings), key=["error", "warning", "note"].index
    )
    assert report.first_bad[1].startswith(f"{tmp_path}/x.tsv:42:0: ")
    assert next(iter(report.source.scripts)) == "Latin"
    assert next(iter(report.target.scripts)) == "Han"


def test_report_is_plain(tmp_path: Path) -> None:
    """Write the report as JSON and as lines of text, each finding with advice."""
    report = check_dataset(opened(tmp_path / "x.tsv", b"a b\tc\nbad\n\tx\n"))
    again = json.loads(json.dumps(report.as_dict()))
    assert again["bad_lines"] == 1
    assert [found["kind"] for found in again["findings"]] == [found.kind for found in report.findings]
    text = report.lines()
    assert text[0] == "x (TSV): 2 pairs, 1 usable"
    assert all(any(found.advice in line for line in text) for found in report.findings)
    assert not any("\n" in line for line in text)
    fine = "".join(f"fine {number}\t好 {number}\n" for number in range(40))
    assert check_dataset(opened(tmp_path / "y.tsv", fine)).lines()[-1] == "no problems found"


def test_numbers_agree_with_their_nouns(tmp_path: Path) -> None:
    """Write "1 pair (line 2)", "2 pairs (lines 2, 3)", and no more than five lines of many."""
    for count, expected in (
        (1, "1 pair with an empty target (line 2)."),
        (2, "2 pairs with an empty target (lines 2, 3)."),
        (7, "7 pairs with an empty target (lines 2, 3, 4, 5, 6, …)."),
    ):
        text = check_dataset(opened(tmp_path / "x.tsv", "a\tb\n" + "c\t\n" * count)).lines()
        assert any(f"warning: {expected}" in line for line in text), text


def test_many_bad_lines_are_counted_but_not_listed(tmp_path: Path) -> None:
    """Keep the first ten reasons."""
    report = check_dataset(opened(tmp_path / "x.tsv", b"a\tb\n" + b"bad\n" * 500))
    assert (report.bad_lines, len(report.first_bad)) == (500, 10)


def test_swapped_columns(tmp_path: Path) -> None:
    """Report swapped columns of a test set; within one script there is no evidence of them."""
    train = opened(tmp_path / "x.tsv", "hello\t你好\nthanks\t谢谢\n")
    swapped = opened(tmp_path / "y.tsv", "再见\tgoodbye\n")
    report = check_dataset(train, swapped)
    assert report.overlap is not None
    assert report.overlap.swapped
    assert finding(report, "overlap_swapped").level == "warning"
    assert check_dataset(opened(tmp_path / "z.tsv", "hello\tbonjour\nmerci\tthanks\n")).swapped_share == 0


def test_nothing_usable(tmp_path: Path) -> None:
    """Refuse a data set without a pair."""
    with pytest.raises(DataError, match="no usable pair"):
        check_dataset(opened(tmp_path / "x.tsv", b"a\t\n\tb\n"))


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Grüße, mein Freund", "Latin"),
        ("привет", "Cyrillic"),
        ("你好。Okay", "Han"),
        ("これは漢字漢字漢字", "Japanese"),
        ("안녕", "Hangul"),
        ("שלום", "Hebrew"),
        ("مرحبا", "Arabic"),
        ("नमस्ते", "Devanagari"),
        ("123 …😀", "Unknown"),
        ("Ａｂｃ", "Latin"),
        ("ﾃｽﾄ", "Japanese"),
    ],
)
def test_scripts(text: str, script: str) -> None:
    """Name the script of most letters."""
    assert script_of(text) == script


def test_fix_keeps_what_is_good(tmp_path: Path) -> None:
    """Write each usable pair once, in order and unchanged, and count what is left out."""
    rows = faulty(3, 500)
    extra = ["bad line", "\tblank", "blank\t ", "\t", "odd\u2028 \ufeff line \t 文 "]
    lines = [f"{a}\t{b}" for a, b in rows]
    for place, line in enumerate(extra):
        lines.insert(17 * place + 5, line)
    dataset = opened(tmp_path / "x.tsv", "\n".join(lines))
    counts = fix_dataset(dataset, tmp_path / "clean.tsv")
    good = [tuple(line.split("\t")) for line in lines if line not in extra[:4]]
    assert list(pairs(open_dataset([str(tmp_path / "clean.tsv")], Columns()).examples())) == list(dict.fromkeys(good))
    assert (counts.kept, counts.bad, counts.blank) == (len(set(good)), 1, 3)
    assert counts.duplicates == len(good) - len(set(good))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean.tsv", "x.tsv"]
    clean = check_dataset(open_dataset([str(tmp_path / "clean.tsv")], Columns()))
    assert clean.bad_lines == clean.duplicate_pairs == 0
    assert clean.pairs == clean.usable == counts.kept


def test_fix_joins_what_a_tsv_cannot_hold(tmp_path: Path) -> None:
    """Write texts with newlines and tabs, and each of several answers, as lines of two columns."""
    record = {"source": "a\nb", "target": ["c\td", "e"]}
    dataset = opened(tmp_path / "x.jsonl", json.dumps(record) + "\n")
    fix_dataset(dataset, tmp_path / "clean.tsv")
    assert (tmp_path / "clean.tsv").read_bytes() == b"a b\tc d\na b\te\n"


def test_fix_leaves_the_data_alone(tmp_path: Path) -> None:
    """Refuse to write over the data, and leave an old copy alone when the data are spoilt."""
    dataset = opened(tmp_path / "x.tsv", b"a\tb\n")
    with pytest.raises(UsageError, match="is the file to fix"):
        fix_dataset(dataset, tmp_path / "x.tsv")
    (tmp_path / "out").write_bytes(b"old")
    (tmp_path / "x.tsv").write_bytes(b"changed\tsince\n")
    with pytest.raises(DataError, match="changed"):
        fix_dataset(dataset, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x.tsv"]


def test_fix_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the file that could not be written, and leave nothing half done."""
    dataset = opened(tmp_path / "x.tsv", b"a\tb\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceError, match=r"out.*No space left"):
        fix_dataset(dataset, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["x.tsv"]


def test_memory_is_flat(tmp_path: Path) -> None:
    """Hold at most 24 bytes a line, beyond what any file costs, and sort in place."""
    peaks = []
    for count in (500, 4500):
        text = "".join(f"source text number {number}\t对应的文字 {number}\n" for number in range(count))
        dataset = opened(tmp_path / "x.tsv", text)
        del text
        tracemalloc.start()
        check_dataset(dataset)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Sorting and comparing hold one more array for a moment.
    assert (peaks[1] - peaks[0]) / 4000 < 24 + 16
    counted = Tally()
    counted.keys.extend([3, 1, 2])
    assert sorted_keys(counted).tolist() == [1, 2, 3] == counted.keys.tolist()


def test_invisible_characters_are_counted(tmp_path: Path) -> None:
    """Count every invisible character, those of empty pairs too, and no joiner that joins."""
    rows = [
        "a\u200bb\tx",
        "c\tx\u00ad\u00ad",
        "\u200b\t\ufeff",
        "👩\u200d🚀\tم\u200cن",
        "d\u200d\tx",
        "e\u3164\t\u2800y",
    ]
    report = check_dataset(opened(tmp_path / "x.tsv", "".join(f"{row}\n" for row in rows)))
    assert report.odd_characters == {
        "U+200B": 2, "U+00AD": 2, "U+FEFF": 1, "U+200D": 1, "U+3164": 1, "U+2800": 1
    }  # fmt: skip
    assert finding(report, "odd_characters").lines == (1, 2, 3, 5, 6)
    assert finding(report, "blank_both").lines == (3,)


def test_unusual_spaces_are_counted(tmp_path: Path) -> None:
    """Count spaces that a model takes for other characters; the wide space of Chinese is none."""
    report = check_dataset(opened(tmp_path / "x.tsv", "a\u00a0b\u2009c\t上\u3000海\nd\u3000e\tx\nf g\ty\n"))
    assert finding(report, "spaces").lines == (1, 2)
    assert "U+00A0 × 1, U+2009 × 1, U+3000 × 1" in finding(report, "spaces").message


def test_repeats_and_overlaps_see_what_the_model_sees(tmp_path: Path) -> None:
    """Find repeats and shared sources that differ in their Unicode form or by invisible characters, and drop them."""
    train = "caf\u00e9\tx\ncafe\u0301\tx\nca\u00adf\u00e9\tx\u200b\n\ufeffcafé \ty\n"
    dataset = opened(tmp_path / "x.tsv", "first\tz\n" + train)
    report = check_dataset(dataset, opened(tmp_path / "y.tsv", "cafe\u0301\u200b\tx\nother\tx\n"))
    assert (report.duplicate_pairs, report.conflicting_sources) == (2, 1)
    assert report.overlap is not None
    assert (report.overlap.same_source, report.overlap.same_pair) == (1, 1)
    assert fix_dataset(dataset, tmp_path / "clean.tsv").duplicates == 2
    assert (tmp_path / "clean.tsv").read_text() == "first\tz\ncaf\u00e9\tx\n\ufeffcafé \ty\n"
    assert finding(check_dataset(opened(tmp_path / "z.tsv", "né\tne\u0301\n")), "equal_sides").count == 1


def test_quotes_of_a_csv_program_are_found(tmp_path: Path) -> None:
    """Count lines with doubled quotation marks, or a file in which all texts are quoted; a single one is text."""
    plain = "".join(f"word {number}\t词 {number}\n" for number in range(20))
    report = check_dataset(opened(tmp_path / "x.tsv", plain + '"The ""old"" mill"\t"x"\nb\t"a ""c"""\n'))
    assert (finding(report, "quoted").count, finding(report, "quoted").lines) == (2, (21,))
    assert "data.columns.quoting=csv" in finding(report, "quoted").advice
    every = "".join(f'"word {number}"\t"词 {number}"\n' for number in range(20))
    assert finding(check_dataset(opened(tmp_path / "y.tsv", every)), "quoted").count == 20
    text = '"Come in."\t"Entrez."\n5" pipe\t"\n""\t""Hi""\n"a" "b"\tx""y\n'
    assert not [
        found for found in check_dataset(opened(tmp_path / "z.tsv", plain + text)).findings if "quoted" in found.kind
    ]


def test_errors_are_what_training_refuses(tmp_path: Path) -> None:
    """Refuse bad lines, too few pairs and texts as tags; nothing else is an error."""
    many = "".join(f"word {number}\tx {number}\n" for number in range(60))
    assert not check_dataset(opened(tmp_path / "x.tsv", many)).is_refused
    doubtful = many + "a\ta\na\t\n\u200b\tc\nword 3\tx 3\n" + "b\t" + "long " * 90 + "\n"
    report = check_dataset(opened(tmp_path / "x.tsv", doubtful), opened(tmp_path / "y.tsv", "word 3\tx 3\n"))
    assert len(report.findings) > 4
    assert not report.is_refused
    assert check_dataset(opened(tmp_path / "x.tsv", many + "bad\n")).is_refused
    few = opened(tmp_path / "few.tsv", "a\tb\n")
    assert "--valid FILE" in finding(check_dataset(few), "refused").message
    assert not check_dataset(few, valid=opened(tmp_path / "valid.tsv", many)).is_refused
    assert check_dataset(few, valid=opened(tmp_path / "valid.tsv", "bad\n" + many)).is_refused
    assert check_dataset(opened(tmp_path / "x.tsv", many), opened(tmp_path / "y.tsv", "a\tb\nbad\n")).is_refused


def test_dropping_lines_is_advised_where_it_helps(tmp_path: Path) -> None:
    """Advise --fix only where it would leave a pair, and write nothing where it would not."""
    with pytest.raises(DataError, match="no usable pair in 3 lines") as caught:
        check_dataset(opened(tmp_path / "x.tsv", "a\tb\tc\n" * 3))
    assert "--fix" not in str(caught.value)
    with pytest.raises(DataError, match="no usable pair"):
        fix_dataset(opened(tmp_path / "x.tsv", "a\tb\tc\n" * 3), tmp_path / "clean.tsv")
    assert not (tmp_path / "clean.tsv").exists()
    with pytest.raises(DataError, match="3 columns") as caught:
        list(opened(tmp_path / "x.tsv", "a\tb\tc\n" * 3 + "\t\n").examples())
    assert "--fix" not in str(caught.value)
    with pytest.raises(DataError, match="3 columns") as caught:
        list(opened(tmp_path / "x.tsv", "a\tb\tc\n" * 3 + "a\tb\n").examples())
    assert "--fix" in str(caught.value)
    mostly = check_dataset(opened(tmp_path / "x.tsv", "a\tb\n" + "a\tb\tc\n" * 9))
    assert "check whether the file is really TSV" in finding(mostly, "bad_lines").advice
