"""Tags as additional tokens of a tokenizer, numbered after its own (Johnson et al. 2017; Kobus et al. 2017).

Text never becomes a tag, even if it looks like one, and decoding leaves tags out.
"""

from collections.abc import Sequence

from calque.text.tokenizers.tokenizer import Tokenizer, visible


class TaggedTokenizer(Tokenizer):
    """The tokenizer `inner` with an additional id for each tag."""

    def __init__(self, inner: Tokenizer, tags: Sequence[str]) -> None:
        """Number `tags`, which are all different, after the ids of `inner`."""
        self.inner = inner
        self.tags = tuple(tags)
        self._ids = {tag: number for number, tag in enumerate(self.tags, start=inner.vocab_size)}

    @property
    def kind(self) -> str:
        """Return the kind of the inner tokenizer."""
        return self.inner.kind

    @property
    def vocab_size(self) -> int:
        """Return the number of ids, including tags."""
        return self.inner.vocab_size + len(self.tags)

    def tag_id(self, tag: str) -> int:
        """Return the id of a tag; KeyError for an unknown one."""
        return self._ids[tag]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text; none is a tag."""
        return self.inner.encode_batch(texts)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without tags."""
        return self.inner.decode([number for number in ids if number < self.inner.vocab_size])

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return a visible label for each id, in brackets for a tag."""
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
        """Return the files of the inner tokenizer; the tags are in text.json."""
        return self.inner.files(name)
