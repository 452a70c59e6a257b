"""Embeddings that start from word vectors: the right rows, at the right scale, and the count is printed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from calque.data.files.vectors import VectorFile
from calque.errors import UsageError
from calque.model import ModelConfig, Seq2Seq, build
from calque.text.pair import TextConfig, TextPair, train_text
from calque.text.tokenizers.tokenizer import Tokenizer
from calque.training.starts.vectors import find_rows, open_vectors, start_from_vectors

SOURCES = ["the mill by the river", "the river by the mill", "a mill"]
TARGETS = ["水 车 河", "河 水"]
WIDTH = 4
VECTORS = {"mill": [1.0, 2.0, 3.0, 4.0], "the": [5.0, 6.0, 7.0, 8.0], "weir": [0.0, 0.0, 0.0, 1.0]}


def vectors(path: Path, words: dict[str, list[float]] = VECTORS) -> Path:
    """Write vectors as GloVe does."""
    path.write_text("".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in words.items()))
    return path


def text_of(kind: str = "word", **fields) -> TextPair:
    """Learn tokenizers."""
    config = TextConfig.model_validate({"source": {"kind": kind}, "target": {"kind": kind}} | fields)
    return train_text(config, lambda: iter(SOURCES), lambda: iter(TARGETS))


def model_of(text: TextPair, kind: str = "gru", **fields) -> tuple[ModelConfig, Seq2Seq]:
    """Build a small model."""
    more = {"heads": 2, "feed_forward": 8} if kind == "transformer" else {}
    part = {"kind": kind, "width": WIDTH, "layers": 1} | more | fields
    config = ModelConfig.model_validate({"encoder": part, "decoder": part, "tie_embeddings": "none"})
    torch.manual_seed(3)
    return config, build(config, text.source.vocab_size, text.target.vocab_size)


def filled(path: Path, side: str, text: TextPair, config: ModelConfig, model: Seq2Seq) -> list[str]:
    """Start a side from a file and return what is reported."""
    said: list[str] = []
    start_from_vectors(text, TextConfig.model_validate({f"{side}_vectors": str(path)}), config, model, said.append)
    return said


@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_a_model_reads_the_vectors_of_the_file(kind: str, tmp_path: Path) -> None:
    text = text_of()
    config, model = model_of(text, kind)
    before = model.encoder.embedding.weight.detach().clone()
    target = model.decoder.embedding.weight.detach().clone()
    said = filled(vectors(tmp_path / "v.txt"), "source", text, config, model)
    ids = text.encode_source(["mill the"])[0]
    torch.testing.assert_close(
        model.encoder.embedding(torch.tensor(ids)), torch.tensor([VECTORS["mill"], VECTORS["the"]])
    )
    others = [number for number in range(text.source.vocab_size) if number not in ids]
    assert torch.equal(model.encoder.embedding.weight[others], before[others])
    assert torch.equal(model.decoder.embedding.weight, target)
    size = text.source.vocab_size
    assert said == [
        f"source vectors: 2 of {size} tokens are among the 3 words of {tmp_path / 'v.txt'}; the others start at random"
    ]


def test_embeddings_that_are_not_scaled_hold_the_vectors_as_they_are(tmp_path: Path) -> None:
    text = text_of()
    config, model = model_of(text, "transformer", scale_embeddings=False)
    filled(vectors(tmp_path / "v"), "source", text, config, model)
    (mill,) = text.encode_source(["mill"])[0]
    assert model.encoder.embedding.weight[mill].tolist() == VECTORS["mill"]


def test_the_target_side_has_its_own(tmp_path: Path) -> None:
    text = text_of()
    config, model = model_of(text)
    source = model.encoder.embedding.weight.detach().clone()
    path = vectors(tmp_path / "v", {"河": [1.0, 1.0, 2.0, 2.0], "mill": [9.0] * 4})
    (said,) = filled(path, "target", text, config, model)
    assert said.startswith("target vectors: 1 of ")
    (number,) = text.encode_target(["河"])[0]
    assert model.decoder.embedding(torch.tensor(number)).tolist() == pytest.approx([1.0, 1.0, 2.0, 2.0])
    assert torch.equal(model.encoder.embedding.weight, source)


class Pieces:
    """Be a tokenizer of a few pieces, of which only the numbers matter."""

    def id_of(self, form: str) -> int | None:
        return {"\u2581mill": 4, "mill": 5, "\u2581weir": 6, "水": 7}.get(form)


def found(path: Path, words: dict[str, list[float]], tokenizer: Tokenizer) -> dict[int, float]:
    """Return the first number of each row's vector."""
    rows, count = find_rows(VectorFile.open(str(vectors(path, words))), tokenizer)
    assert count == len(words)
    return {number: float(vector[0]) for number, vector in rows.items()}


def test_a_word_is_the_piece_that_begins_it(tmp_path: Path) -> None:
    pieces: Tokenizer = Pieces()  # type: ignore[assignment]
    words = {"mill": [1.0, 0.0], "水": [2.0, 0.0], "oak": [3.0, 0.0]}
    assert found(tmp_path / "a", words, pieces) == {4: 1.0, 5: 1.0, 7: 2.0}
    # Vectors of pieces name them as they are: these come first, wherever they stand.
    by_piece = {"mill": [1.0, 0.0], "\u2581mill": [2.0, 0.0], "\u2581weir": [3.0, 0.0], "weir": [4.0, 0.0]}
    assert found(tmp_path / "b", by_piece, pieces) == {4: 2.0, 5: 1.0, 6: 3.0}


def test_of_equal_words_the_first_counts(tmp_path: Path) -> None:
    path = tmp_path / "v"
    path.write_text("mill 1 0\nmill 2 0\n")
    rows, count = find_rows(VectorFile.open(str(path)), text_of().source)
    assert count == 2
    assert [vector.tolist() for vector in rows.values()] == [[1.0, 0.0]]


@pytest.mark.parametrize("kind", ["sentencepiece", "character", "byte"])
def test_every_tokenizer_can_be_asked(kind: str, tmp_path: Path) -> None:
    tokenizer = text_of(kind).source
    words = {form: [float(number), 1.0] for number, form in enumerate(["m", "\u2581the", "the", "<0x41>", "</s>"], 1)}
    rows, _ = find_rows(VectorFile.open(str(vectors(tmp_path / "v", words))), tokenizer)
    for form, vector in words.items():
        number = tokenizer.id_of(form)
        assert number is None or np.array_equal(rows[number], np.float32(vector))
    assert not set(rows) & set(range(4))


@pytest.mark.parametrize(("side", "part"), [("source", "encoder"), ("target", "decoder")])
def test_another_width_is_refused_with_both_numbers(side: str, part: str, tmp_path: Path) -> None:
    config, _ = model_of(text_of())
    path = vectors(tmp_path / "v", {"mill": [1.0] * 6})
    with pytest.raises(UsageError, match=rf"text\.{side}_vectors: .* 6 numbers, but model\.{part}\.width is 4; set"):
        open_vectors(TextConfig.model_validate({f"{side}_vectors": str(path)}), config)
    assert open_vectors(TextConfig(), config) == []


def test_one_table_for_both_sides_is_filled_once(tmp_path: Path) -> None:
    text = text_of(joint=True)
    part = {"kind": "gru", "width": WIDTH, "layers": 1}
    config = ModelConfig.model_validate({"encoder": part, "decoder": part, "tie_embeddings": "all"})
    model = build(config, text.source.vocab_size, text.target.vocab_size)
    filled(vectors(tmp_path / "v"), "source", text, config, model)
    (mill,) = text.encode_source(["mill"])[0]
    assert model.decoder.embedding(torch.tensor(mill)).tolist() == pytest.approx(VECTORS["mill"])
