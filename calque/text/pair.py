"""The text side of a model: a tokenizer for each language, trained together and saved in one folder.

The folder contains `text.json`, with the kinds, and files with fixed names, so no file can refer to another folder.
"""

import hashlib
import itertools
import json
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import ValidationError, model_validator

from calque.config import Config, reasons
from calque.errors import DataError
from calque.text.copying import copy_table, decode_copied, encode_copied
from calque.text.graph.layout import (
    Layout,
    LayoutConfig,
    LineLayoutConfig,
    SourceError,
    learn_layout,
    load_layout,
)
from calque.text.inputs import ONE_TEXT, InputLine, Inputs, Side, with_tags
from calque.text.source import SourceIds
from calque.text.tokenizers.frame import NO_FRAME, Frame
from calque.text.tokenizers.kinds import Kind, SentencePieceConfig, TokenizerConfig, load_tokenizer, train_tokenizer
from calque.text.tokenizers.tokenizer import Tokenizer, damaged, read_limited, write_files

Normalisation = Literal["none", "nfc", "nfkc"]

_LINE = Layout()
_DESCRIPTION = "text.json"
_MAX_DESCRIPTION_BYTES = 2**20


class TextConfig(Config):
    """The fields of tokenization and of the layout of sources."""

    copying: bool = False
    """Whether sources contain the ids for copying their tokens, which the pointer head needs."""
    layout: LayoutConfig = LineLayoutConfig()
    """Layout of a source: a line of text, or a graph."""
    tag_side: Side = "source"
    """Place of the tag in data.columns.tag: before the source, or before the target, where search forces it."""
    joint: bool = False
    """Whether both sides share one vocabulary, for languages of one script or for copying."""
    normalise: Normalisation = "nfc"
    """Unicode normalisation of the source before tokenization; the target is never changed."""
    source: TokenizerConfig = SentencePieceConfig()
    """The tokenizer of the source."""
    target: TokenizerConfig = SentencePieceConfig()
    """The tokenizer of the target."""
    source_vectors: str = ""
    """File of word vectors (word2vec, fastText or GloVe text) for initial source embeddings; empty: none."""
    target_vectors: str = ""
    """File of word vectors for initial target embeddings; empty: none."""

    @model_validator(mode="after")
    def _joint_needs_one_config(self) -> "TextConfig":
        if self.joint and self.source != self.target:
            source, target = self.source.model_dump(), self.target.model_dump()
            different = [key for key in {**source, **target} if source.get(key) != target.get(key)]
            differences = ", ".join(f"{key} ({source.get(key)} and {target.get(key)})" for key in different)
            raise ValueError(
                "joint = true means one vocabulary for both sides, so text.source and text.target must be the same; "
                f"they differ in {differences}. Make them the same, or set text.joint = false."
            )
        return self


class _Description(Config):
    """The content of `text.json`; other fields are refused."""

    format: Literal[1] = 1
    joint: bool
    normalise: Normalisation
    source: Kind
    target: Kind
    copying: bool = False
    layout: LayoutConfig = LineLayoutConfig()
    inputs: Inputs = ONE_TEXT
    frame: Frame = NO_FRAME


@dataclass(frozen=True)
class TextPair:
    """The tokenizers of both sides (one object if `joint`) and the normalisation of the source.

    `copying`: whether sources have the ids for copying their tokens. `layout`: how a source becomes tokens and edges.
    `inputs`: the columns of an input line. `frame`: the ids around a source.
    """

    source: Tokenizer
    target: Tokenizer
    joint: bool
    normalisation: Normalisation
    copying: bool = False
    layout: Layout = _LINE
    inputs: Inputs = ONE_TEXT
    frame: Frame = NO_FRAME

    def normalise(self, text: str) -> str:
        """Return a source text in the chosen Unicode form."""
        return _normalise(text, self.normalisation)

    def encode_source(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each source text, normalised first; without BOS and EOS."""
        if not self.inputs.is_one_text or not self.frame.is_empty:
            return [source.tokens for source in self.read_sources(texts)]
        if not self.layout.is_line:
            return [source.tokens for source in self.layout.read(texts, self.source, None, self.normalise)]
        return self._encode(texts)

    def encode_target(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each target text; without BOS and EOS."""
        return self.target.encode_batch(texts)

    @property
    def extras(self) -> tuple[str, ...]:
        """Return the names of the extras of `read_sources` (see `calque.text.extras`)."""
        edges, segments = self.layout.num_edge_kinds > 0, len(self.inputs.sources) > 1
        return ("copy_ids",) * self.copying + ("edges",) * edges + ("segments",) * segments

    def read_sources(self, texts: Sequence[str]) -> list[SourceIds]:
        """Return the source of each line of input; SourceError for a line that the model cannot read."""
        lines = []
        for number, text in enumerate(texts):
            try:
                lines.append(self.inputs.parse(text))
            except DataError as error:
                raise SourceError(error.message, number) from None
        return self.read_lines(lines)

    def read_lines(self, lines: Sequence[InputLine]) -> list[SourceIds]:
        """Return the source of each parsed line; SourceError for a line that the model cannot read."""
        read = self._read if self.frame.is_empty else self._read_coded
        sources = self.inputs.read(lines, read, self.source, self.target)
        return sources if self.frame.is_empty else self.frame.around(sources)

    def _read_coded(self, texts: Sequence[str]) -> list[SourceIds]:
        """Return the sources of texts that may begin with a code."""
        split = [self.frame.split(text) for text in texts]
        read = self._read([rest for _, rest in split])
        return [source.framed(code) for (code, _), source in zip(split, read, strict=True)]

    def _read(self, texts: Sequence[str]) -> list[SourceIds]:
        if not self.layout.is_line:
            return self.layout.read(texts, self.source, self.target if self.copying else None, self.normalise)
        encoded = self._encode(texts)
        if not self.copying:
            return [SourceIds(tokens) for tokens in encoded]
        tables = [copy_table(self.source, self.target, self.normalise(text)) for text in texts]
        return [SourceIds(tokens, *table) for tokens, table in zip(encoded, tables, strict=True)]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self.source.encode_batch([self.normalise(text) for text in texts])

    def read_pairs(self, sources: Sequence[str], targets: Sequence[str]) -> list[tuple[SourceIds, list[int]]]:
        """Return sources with the ids of their targets, in which words may be copies of source forms."""
        read = self.read_sources(sources)
        if self.copying:
            ids = [self.target_of(target, source) for target, source in zip(targets, read, strict=True)]
            return list(zip(read, ids, strict=True))
        ids = self.encode_target(targets)
        return [(source, [*source.prefix, *target]) for source, target in zip(read, ids, strict=True)]

    def target_of(self, target: str, source: SourceIds) -> list[int]:
        """Return the prefix of `source` and the ids of a target, in which words may be copies of source forms."""
        ids = encode_copied(self.target, target, source.forms) if self.copying else self.encode_target([target])[0]
        return [*source.prefix, *ids]

    def write_target(self, ids: Sequence[int], source: SourceIds) -> str:
        """Return the text of target ids for `source`, with copied forms as in the source."""
        return decode_copied(self.target, ids, source.forms)

    def target_pieces(self, ids: Sequence[int], source: SourceIds) -> list[str]:
        """Return a visible label for each of the target ids for `source`."""
        size = self.target.vocab_size
        return [source.forms[number - size] if number >= size else self.target.pieces([number])[0] for number in ids]

    def files(self) -> dict[str, bytes]:
        """Return the content of the folder by file name; `text.json` comes last and makes it complete."""
        sides = {"joint": self.source} if self.joint else {"source": self.source, "target": self.target}
        files = {file: data for name, tokenizer in sides.items() for file, data in tokenizer.files(name).items()}
        files |= self.layout.files()
        description = {
            "format": 1,
            "joint": self.joint,
            "normalise": self.normalisation,
            "source": self.source.kind,
            "target": self.target.kind,
            **({"copying": True} if self.copying else {}),
            **({} if self.layout.is_line else {"layout": self.layout.config.model_dump()}),
            **({} if self.inputs.is_one_text else {"inputs": self.inputs.model_dump()}),
            **({} if self.frame.is_empty else {"frame": self.frame.model_dump()}),
        }
        return files | {_DESCRIPTION: (json.dumps(description, indent=2) + "\n").encode()}

    @cached_property
    def fingerprint(self) -> str:
        """Return the SHA-256 of all files; it is equal exactly if both sides have the same files."""
        return _digest(self.files())

    @cached_property
    def target_fingerprint(self) -> str:
        """Return the SHA-256 of the target side; it is equal exactly if target ids have the same meaning."""
        size = self.target.vocab_size
        tags = self.inputs.tags if self.joint or self.inputs.tag_side == "target" else ()
        about = f"{self.target.kind} {size} {tags!r}" + (f" {self.frame.target}" if self.frame.target else "")
        return _digest({"about": about.encode()} | self.target.files("target"))

    def save(self, folder: Path) -> None:
        """Write the folder."""
        write_files(folder, self.files())

    @classmethod
    def load(cls, folder: Path) -> "TextPair":
        """Read a folder that `save` wrote; UsageError naming a missing, damaged or hostile file."""
        path = folder / _DESCRIPTION
        try:
            description = _Description.model_validate_json(read_limited(path, _MAX_DESCRIPTION_BYTES), strict=True)
        except ValidationError as error:
            raise damaged(path, reasons(error)[0]) from None
        layout = load_layout(description.layout, folder)
        inputs = description.inputs
        if not description.joint:
            source = load_tokenizer(description.source, folder, "source")
            target = load_tokenizer(description.target, folder, "target")
            sides = _tagged(source, target, inputs)
        elif description.source != description.target:
            raise damaged(path, "joint is true, but source and target are of different kinds")
        else:
            both = with_tags(load_tokenizer(description.source, folder, "joint"), inputs)
            sides = (both, both)
        if not description.frame.is_within(sides[0].vocab_size, sides[1].vocab_size):
            raise damaged(path, "the frame contains an id beyond the vocabulary")
        said = description
        return cls(*sides, said.joint, said.normalise, said.copying, layout, inputs, said.frame)


def train_text(
    config: TextConfig,
    sources: Callable[[], Iterator[str]],
    targets: Callable[[], Iterator[str]],
    inputs: Inputs = ONE_TEXT,
) -> TextPair:
    """Learn the tokenizers of both sides from texts that can be read repeatedly, at most 10 MB per side.

    `inputs` describe the lines of the sources, with all tags. Sources are normalised first. Raises DataError if a side
    has no text.
    """

    def normalise(text: str) -> str:
        return _normalise(text, config.normalise)

    layout = learn_layout(config.layout, (text for line in sources() for text in inputs.texts(line)), normalise)
    lines = (text for line in sources() for text in inputs.texts(line))
    normalised = (part for text in lines for part in layout.sketch(text, normalise).texts)
    if config.joint:
        both = with_tags(train_tokenizer(config.source, itertools.chain(normalised, targets())), inputs)
        return TextPair(both, both, True, config.normalise, config.copying, layout, inputs)
    source = train_tokenizer(config.source, normalised)
    sides = _tagged(source, train_tokenizer(config.target, targets()), inputs)
    return TextPair(*sides, False, config.normalise, config.copying, layout, inputs)


def _tagged(source: Tokenizer, target: Tokenizer, inputs: Inputs) -> tuple[Tokenizer, Tokenizer]:
    """Return both tokenizers; that of the side with tags has an id for each tag."""
    if inputs.tag_side == "source":
        return with_tags(source, inputs), target
    return source, with_tags(target, inputs)


def _digest(files: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name}\n{len(data)}\n".encode() + data)
    return digest.hexdigest()


def _normalise(text: str, normalisation: Normalisation) -> str:
    match normalisation:
        case "none":
            return text
        case "nfc":
            return unicodedata.normalize("NFC", text)
        case "nfkc":
            return unicodedata.normalize("NFKC", text)
