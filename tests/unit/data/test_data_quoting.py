"""Files whose texts a CSV program put in quotation marks: read as the program meant where asked, else never misread."""

import csv
import io
import random
from pathlib import Path

import pytest

from calque.data.files.columns import Columns
from calque.data.files.readers import Dataset, open_dataset, pairs
from calque.errors import DataError

CSV = Columns(quoting="csv")


def opened(folder: Path, *texts: str, columns: Columns = CSV) -> Dataset:
    """Write files of these texts and open them."""
    paths = [folder / f"data{number}.tsv" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.encode())
    return open_dataset([str(path) for path in paths], columns)


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("header", [True, False])
def test_what_a_csv_program_wrote_is_read_back(quoting: int, header: bool, tmp_path: Path) -> None:
    """Return the texts that the csv module wrote; line breaks and tabs in them become spaces."""
    draw = random.Random(1)
    rows = [
        [f"{draw.choice(parts)}{n}{draw.choice(parts)}" for _ in range(2)]
        for n in range(200)
        for parts in ['"" \t\na,;']
    ]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter="\t", quoting=quoting, lineterminator="\n")
    writer.writerows([["source", "target"]] * header + rows)
    dataset = opened(tmp_path, stream.getvalue())
    expected = [tuple(cell.replace("\t", " ").replace("\n", " ") for cell in row) for row in rows]
    assert list(pairs(dataset.examples())) == expected
    assert dataset.description == ("TSV with a header, quoted" if header else "TSV, quoted")
    assert not dataset.quoted_lines[0]


def test_quotation_marks_are_text_unless_asked(tmp_path: Path) -> None:
    """Keep every quotation mark, and count the lines that a CSV program seems to have written."""
    rows = ['"a\tb"', '5" pipe\t"', '""\t"Hi"', '"The ""old"" mill"\tx', 'y\t"""z"""']
    dataset = opened(tmp_path, "".join(f"{row}\n" for row in rows), columns=Columns())
    assert ["\t".join(pair) for pair in pairs(dataset.examples())] == rows
    assert dataset.quoted_lines == (2, 4)
    assert "data.columns.quoting=csv" in dataset.notices()[0]


def test_quoted_names_are_no_pair(tmp_path: Path) -> None:
    """Refuse a header in quotation marks instead of training on it; read it where asked."""
    text = '"source"\t"target"\n"a"\t"b"\n'
    with pytest.raises(DataError, match=r"column names are in quotation marks.*data\.columns\.quoting=csv"):
        opened(tmp_path, text, columns=Columns())
    assert list(pairs(opened(tmp_path, text).examples())) == [("a", "b")]


def test_torn_texts_name_the_way_out(tmp_path: Path) -> None:
    """Name the setting where a quoted text has a tab or a line break in it."""
    for bad in ('"a\tb"\tc\n', '"a\nb"\tc\n'):
        with pytest.raises(DataError, match=r"data\.columns\.quoting=csv"):
            list(opened(tmp_path, "x\ty\n" + bad, columns=Columns()).examples())
        assert list(pairs(opened(tmp_path, "x\ty\n" + bad).examples())) == [("x", "y"), ("a b", "c")]


def test_a_quote_that_never_closes(tmp_path: Path) -> None:
    """Refuse it with the number of lines that it takes in, and read the lines before it."""
    errors: list[DataError] = []
    dataset = opened(tmp_path, 'a\tb\n"c\td\ne\tf\n')
    assert list(pairs(dataset.examples(errors.append))) == [("a", "b")]
    assert "2 lines are lost" in str(errors[0])


def test_two_plain_files(tmp_path: Path) -> None:
    """Take the marks off line by line, and refuse a text that does not end on its line."""
    left, right = '"The ""old"" mill"\nb "c"\n', 'x\n5" pipe\n'
    assert list(pairs(opened(tmp_path, left, right).examples())) == [('The "old" mill', "x"), ('b "c"', '5" pipe')]
    assert opened(tmp_path, left, right, columns=Columns()).notices() == []
    dataset = opened(tmp_path, left, right, columns=Columns())
    list(dataset.examples())
    assert dataset.quoted_lines == (1, 1)
    with pytest.raises(DataError, match="does not close it on the line") as caught:
        list(opened(tmp_path, 'a\n"b\nc"\n', "x\ny\nz\n").examples())
    assert caught.value.line == 2
