"""Files of word vectors: every usual form reads the same, what is wrong is told with its line, memory stays flat."""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from calque.data.files.vectors import VectorFile
from calque.errors import DataError, UsageError

WORDS = {"oak": [0.5, -1.25, 3.0], "elm": [1e-3, 2.0, -0.125], "ulme": [7.0, 8.0, 9.5]}
FORMS = ["glove", "word2vec", "trailing", "tabs", "crlf"]


def content(form: str, words: dict[str, list[float]] = WORDS) -> str:
    """Return vectors in one of the forms that programs write."""
    lines = [f"{word} {' '.join(map(str, vector))}" for word, vector in words.items()]
    header = [f"{len(words)} {len(next(iter(words.values())))}"]
    match form:
        case "word2vec":
            lines = header + lines
        case "trailing":
            lines = header + [f"{line} " for line in lines]
        case "tabs":
            lines = [line.replace(" ", "\t") for line in lines]
        case "crlf":
            lines = [f"{line}\r" for line in header + lines]
    return "\n".join(lines) + "\n"


def written(path: Path, text: str) -> VectorFile:
    """Write a file, gzipped where its name says so, and open it."""
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return VectorFile.open(str(path))


def read(file: VectorFile, wanted=lambda word: True) -> dict[str, list[float] | None]:
    """Read all of a file."""
    return {word: None if vector is None else vector.tolist() for word, vector in file.words(wanted)}


@pytest.mark.parametrize("ending", ["vec", "vec.gz"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_reads_the_same(form: str, ending: str, tmp_path: Path) -> None:
    file = written(tmp_path / f"v.{ending}", content(form))
    assert file.width == 3
    assert file.promised == (3 if form in ("word2vec", "trailing", "crlf") else None)
    assert read(file) == {word: np.float32(vector).tolist() for word, vector in WORDS.items()}


def test_only_wanted_words_have_their_vector_read(tmp_path: Path) -> None:
    file = written(tmp_path / "v", content("glove") + "bad not a number\n")
    assert read(file, lambda word: word == "elm") == {
        "oak": None,
        "elm": np.float32(WORDS["elm"]).tolist(),
        "ulme": None,
        "bad": None,
    }


def test_a_word_may_hold_blanks(tmp_path: Path) -> None:
    file = written(tmp_path / "v", "oak 1 2 3\n. . . 4 5 6\nat the mill 7 8 9\n")
    assert read(file) == {"oak": [1, 2, 3], ". . .": [4, 5, 6], "at the mill": [7, 8, 9]}


def test_a_word_that_is_no_utf8_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "v").write_bytes(b"oak 1 2\nn\xe4he 3 4\nelm 5 6\n")
    assert list(read(VectorFile.open(str(tmp_path / "v")))) == ["oak", "n\ufffdhe", "elm"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("oak 1 2 3\nelm 1 2\n", 2, "2 numbers, but the first vector of the file has 3"),
        ("2 3\noak 1 2 3\n\nelm 1 2 3\n", 3, "0 numbers, but the first vector of the file has 3"),
        ("oak 1 2 3\nelm 1 x 3\n", 2, "a field is not a number"),
        ("oak 1 2 3\nelm 1 nan 3\n", 2, "infinite, too large or NaN"),
        ("oak 1 2 3\nelm 1 1e99 3\n", 2, "infinite, too large or NaN"),
        ("9 3\noak 1 2 3\nelm 1 2 3\n", 3, "the file ends after 2 of 9 vectors; copy or download it again"),
    ],
)
def test_a_bad_line_is_named(text: str, line: int, message: str, tmp_path: Path) -> None:
    file = written(tmp_path / "v", text)
    with pytest.raises(DataError, match=message) as found:
        read(file)
    assert found.value.line == line
    assert str(found.value).startswith(f"{tmp_path / 'v'}:{line}: ")


@pytest.mark.parametrize("text", ["oak\n", "\n", "5 0\noak\n"])
def test_what_holds_no_vectors_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the first line .*binary file must be converted") as found:
        written(tmp_path / "v", text)
    assert found.value.line == 1


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    written(tmp_path / "vectors.vec", content("glove"))
    with pytest.raises(UsageError, match=r'Did you mean "vectors\.vec"'):
        VectorFile.open(str(tmp_path / "vector.vec"))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "v"
    with path.open("w") as stream:
        stream.write("60000 20\n")
        for number in range(60_000):
            stream.write(f"word{number} {' '.join(['0.125'] * 20)}\n")
    assert path.stat().st_size > 7_000_000
    file = VectorFile.open(str(path))
    tracemalloc.start()
    found = sum(vector is not None for _, vector in file.words(lambda word: word.endswith("77")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == 600
    assert peak < 500_000
