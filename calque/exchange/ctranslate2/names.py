"""The tokens of a model by name, as CTranslate2's vocabularies want them, and the few lines that cut text into them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from calque.ids import NUM_SPECIALS, SPECIALS
from calque.text.sentencepiece.file import read_pieces
from calque.text.tokenizers.subword import SentencePieceTokenizer
from calque.text.tokenizers.symbols import ByteTokenizer
from calque.text.tokenizers.tags import TaggedTokenizer
from calque.text.tokenizers.tokenizer import Tokenizer


def token_names(tokenizer: Tokenizer) -> list[str]:
    """Return a name for each id, no two alike: the token as its tokenizer writes it, wherever that can be."""
    names, used = list(SPECIALS), set(SPECIALS)
    for number, form in enumerate(_forms(tokenizer), start=NUM_SPECIALS):
        name = form
        while not name or name in used:
            name = f"{name}#{number}"
        names.append(name)
        used.add(name)
    return names


@dataclass(frozen=True)
class Cutting:
    """Lines of Python: what they import, what reads a tokenizer, what cuts `line`, what joins `tokens`."""

    imports: str
    load: str
    cut: str
    join: str


_SENTENCEPIECE = Cutting(
    "import sentencepiece\n",
    '{side} = sentencepiece.SentencePieceProcessor(model_file=f"{{folder}}/text/{name}.model")\n',
    "source.encode(line, out_type=str)",
    "target.decode(tokens)",
)
_BYTES = '[f"<0x{byte:02X}>" for byte in line.encode()]'
CUTTING = {
    "sentencepiece": _SENTENCEPIECE,
    "imported_sentencepiece": _SENTENCEPIECE,
    "word": Cutting("", "", "line.split()", '" ".join(tokens)'),
    "character": Cutting("", "", "list(line)", '"".join(tokens)'),
    "byte": Cutting("", "", _BYTES, 'bytes(int(token[3:5], 16) for token in tokens).decode(errors="replace")'),
    # Its merges need a library of their own: such a program is fed with tokens.
    "imported_byte_pair": Cutting("", "", "line.split()", '" ".join(tokens)'),
}


def _forms(tokenizer: Any) -> Iterable[str]:
    """Return how the tokens after the special ones are written, not always each otherwise."""
    if isinstance(tokenizer, TaggedTokenizer):
        return [*_forms(tokenizer.inner), *(f"[{tag}]" for tag in tokenizer.tags)]
    if isinstance(tokenizer, SentencePieceTokenizer):
        (data,) = tokenizer.files("").values()
        return [piece.text for piece in read_pieces(data)[0][NUM_SPECIALS:]]
    if isinstance(tokenizer, ByteTokenizer):
        return [f"<0x{byte:02X}>" for byte in range(256)]
    if hasattr(tokenizer, "table"):
        return [token.form for token in tokenizer.table.tokens[NUM_SPECIALS:]]
    forms: Sequence[str] = tokenizer.vocabulary.forms
    return forms
