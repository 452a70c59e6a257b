"""Tags as tokens of their own, numbered after those of a tokenizer (Johnson et al. 2017; Kobus et al. 2017).

No text becomes a tag, whatever it looks like, and a tag leaves no trace in a text.
"""

from collections.abc import Sequence
from pathlib import Path

from calque.text.tokenizers.tokenizer import Tokenizer, visible


class TaggedTokenizer:
    """Share everything with the tokenizer `inner`, and have an id more for each tag."""

    def __init__(self, inner: Tokenizer, tags: Sequence[str]) -> None:
        """Number `tags`, which differ from one another, after the ids of `inner`."""
        self.inner = inner
        self.tags = tuple(tags)
        self._ids = {tag: number for number, tag in enumerate(self.tags, start=inner.vocab_size)}

    @property
    def kind(self) -> str:
        """Return the kind of the tokenizer within."""
        return self.inner.kind

    @property
    def vocab_size(self) -> int:
        """Return the number of ids, tags included."""
        return self.inner.vocab_size + len(self.tags)

    def tag_id(self, tag: str) -> int:
        """Return the id of a tag; KeyError for another."""
        return self._ids[tag]

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; none is a tag."""
        return self.inner.encode(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text."""
        return self.inner.encode_batch(texts)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, tags left out."""
        return self.inner.decode([number for number in ids if number < self.inner.vocab_size])

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return a visible label per id, that of a tag in brackets."""
        size = self.inner.vocab_size
        return [
            f"[{visible(self.tags[number - size])}]" if number >= size else self.inner.pieces([number])[0]
            for number in ids
        ]

    def forms(self, text: str) -> list[str]:
        """Return the form of each id of a text."""
        return self.inner.forms(text)

    def id_of(self, form: str) -> int | None:
        """Return the id of a form; a tag has none."""
        return self.inner.id_of(form)

    def files(self, name: str) -> dict[str, bytes]:
        """Return the files of the tokenizer within; the tags stand in text.json."""
        return self.inner.files(name)

    def save(self, folder: Path, name: str) -> None:
        """Write the files of the tokenizer within."""
        self.inner.save(folder, name)
