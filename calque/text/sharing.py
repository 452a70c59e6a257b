"""The readings of one text by the members of an ensemble, with one table of the forms that any member can copy.

The members have the same target tokens; a form without a target id has the same number in all members.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from calque.errors import UsageError
from calque.text.inputs import InputLine
from calque.text.pair import TextPair
from calque.text.source import SourceIds, numbered_forms


@dataclass(frozen=True)
class SharedSource:
    """One source as each member reads it; the i-th of `forms` has the id V + i in all members."""

    members: tuple[SourceIds, ...]
    forms: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the largest number of tokens among the members."""
        return max(map(len, self.members))

    @property
    def answered(self) -> SourceIds:
        """Return the source of the first member, with the forms of all members."""
        return replace(self.members[0], forms=self.forms)


def read_shared(texts: Sequence[TextPair], lines: Sequence[InputLine]) -> list[SharedSource]:
    """Return each line as all members read it."""
    vocab_size = texts[0].target.vocab_size
    read = zip(*(text.read_lines(lines) for text in texts), strict=True)
    return [share_forms(members, vocab_size) for members in read]


def share_forms(members: tuple[SourceIds, ...], vocab_size: int) -> SharedSource:
    """Number the forms that the members can copy in one table."""
    table = numbered_forms(members)
    return SharedSource(tuple(own.with_forms(table, vocab_size) for own in members), tuple(table))


def require_one_target(texts: Sequence[TextPair], names: Sequence[str]) -> None:
    """Raise UsageError if the target tokens or the inputs of two models differ."""
    for text, name in zip(texts[1:], names[1:], strict=True):
        if text.inputs.names != texts[0].inputs.names:
            raise UsageError(
                f"{names[0]} and {name} cannot be one ensemble: the first reads {', '.join(texts[0].inputs.names)}, the"
                f" second {', '.join(text.inputs.names)}. Members must read the same columns."
            )
        if text.target_fingerprint != texts[0].target_fingerprint:
            raise UsageError(
                f"{names[0]} and {name} cannot be one ensemble: their target tokens differ"
                f" ({_described(texts[0])} and {_described(text)}). Members must have the same target tokenizer; train"
                " them on the same data with the same text settings."
            )


def _described(text: TextPair) -> str:
    return f"{text.target.vocab_size:,} of kind {text.target.kind}"
