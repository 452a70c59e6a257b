"""Copying from the source: for each source token the target id of the same form, or a number for a form without one.

Forms are compared as text, so the two vocabularies can differ. A word that is not in the target vocabulary is copied
letter by letter.
"""

from collections.abc import Sequence

from calque.ids import PAD
from calque.text.tokenizers.tokenizer import Tokenizer

# Tokenizers of whole symbols, whose unknown symbols can be copied, and the text between their symbols.
JOINERS = {"word": " ", "character": ""}


def copy_table(source: Tokenizer, target: Tokenizer, text: str) -> tuple[list[int], tuple[str, ...]]:
    """Return for each token of `text` the id that copying it gives, and the forms that have no target id.

    If the target spells unknown forms (in pieces or bytes), there are no such forms, and they are not copied.
    """
    forms: dict[str, int] = {}
    copy_ids = []
    for form in source.forms(text):
        known = target.id_of(form)
        if known is None and source.kind == target.kind and target.kind in JOINERS:
            known = target.vocab_size + forms.setdefault(form, len(forms))
        copy_ids.append(PAD if known is None else known)
    return copy_ids, tuple(forms)


def encode_copied(target: Tokenizer, text: str, forms: Sequence[str]) -> list[int]:
    """Return the ids of a target text; a word in `forms`, those of the source, has the number of its place there."""
    ids = target.encode(text)
    if not forms:
        return ids
    places = {form: target.vocab_size + number for number, form in enumerate(forms)}
    return [places.get(form, number) for form, number in zip(target.forms(text), ids, strict=True)]


def decode_copied(target: Tokenizer, ids: Sequence[int], forms: Sequence[str]) -> str:
    """Return the text of target ids, with copied forms as in the source."""
    if not forms or all(number < target.vocab_size for number in ids):
        return target.decode(ids)
    size = target.vocab_size
    words = [forms[number - size] if number >= size else target.decode([number]) for number in ids]
    return JOINERS[target.kind].join(word for word in words if word)
