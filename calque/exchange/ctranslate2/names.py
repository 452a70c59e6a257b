"""Names of a model's tokens for the vocabularies of CTranslate2, and the lines of Python that tokenise text."""

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
    """Return a different name for each id: the token as its tokenizer writes it, if that is unique."""
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
    """Lines of Python that import, read a tokenizer, tokenise `line`, and join `tokens`."""

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
    # Its merges need another library, so the input of such a program is tokens.
    "imported_byte_pair": Cutting("", "", "line.split()", '" ".join(tokens)'),
}


def _forms(tokenizer: Any) -> Iterable[str]:
    """Return the forms of the tokens after the special ones, which may not be unique."""
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
