"""Draw pairs of the phrase grammar: balanced over its patterns, and split by combinations of words for a fair test.

Holding out combinations, not sentences, shows that a model composes (Lake and Baroni, 2018, "Generalization without
Systematicity").
"""

import hashlib
import itertools
import random
from collections import deque
from collections.abc import Iterator, Sequence

from calque.demo.phrasebook.grammar import Grammar, Pattern, Word, load_grammar
from calque.errors import UsageError

Pair = tuple[str, str]
Draw = tuple[Pattern, tuple[Word, ...]]
# One combination in so many is kept for the test; more would starve the small patterns of training.
HELD_OUT_ONE_IN = 10


def sample_pairs(number: int, seed: int) -> list[Pair]:
    """Return `number` distinct (English, Chinese) pairs, the same for the same `seed`.

    Every pattern gives as many as every other, or all that it has. Raises UsageError when the grammar has too few.
    """
    generator = random.Random(seed)
    draws = _round_robin([_stream(pattern, generator) for pattern in load_grammar().patterns])
    return _take(draws, number, generator, "pairs")


def split_pairs(number_train: int, number_test: int, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Return (training pairs, test pairs), the same for the same `seed`.

    The two commonest slots of a pattern decide: one combination of their words in ten is only ever tested on, the
    others only ever trained on. Every pattern, word and word form of the test occurs in training.
    Raises UsageError when the grammar, or training of this size, has too few.
    """
    generator = random.Random(seed)
    grammar = load_grammar()
    seen = _Seen()
    train = _take(seen.note(_half(grammar, seed, generator, False)), number_train, generator, "training pairs")
    known = (draw for draw in _half(grammar, seed, generator, True) if seen.knows(draw))
    return train, _take(known, number_test, generator, "test pairs whose words are all in training")


class _Seen:
    """Remember what training showed: patterns, word forms as written in a sentence, and words."""

    def __init__(self) -> None:
        self._keys: set[object] = set()

    def note(self, draws: Iterator[Draw]) -> Iterator[Draw]:
        """Yield `draws`, remembering each."""
        for draw in draws:
            self._keys.update(_keys(draw))
            yield draw

    def knows(self, draw: Draw) -> bool:
        """Return whether training showed all that `draw` is made of."""
        return self._keys.issuperset(_keys(draw))


def _keys(draw: Draw) -> list[object]:
    """Return what a draw is made of: its pattern, its words, its English words as written, its characters."""
    pattern, words = draw
    english, chinese = pattern.render(words)
    return [pattern.template, *words, *english.split(), *chinese]


def is_held_out(pattern: Pattern, words: Sequence[Word], seed: int) -> bool:
    """Return whether the combination of `words` in the pattern's two key slots is kept for the test."""
    if not pattern.key_slots:
        return False
    fillers = [words[place].forms["en"] + "/" + words[place].forms.get("zh", "") for place in pattern.key_slots]
    digest = hashlib.blake2b("\t".join([str(seed), pattern.template, *fillers]).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % HELD_OUT_ONE_IN == 0


def _half(grammar: Grammar, seed: int, generator: random.Random, held_out: bool) -> Iterator[Draw]:
    """Yield the draws of one half of the split, balanced over the patterns."""
    streams = [_stream(pattern, generator) for pattern in grammar.patterns]
    return _round_robin([(draw for draw in stream if is_held_out(*draw, seed) == held_out) for stream in streams])


def _stream(pattern: Pattern, generator: random.Random) -> Iterator[Draw]:
    """Yield every choice of the pattern once, in random order, without listing them (a lazy Fisher-Yates shuffle)."""
    moved: dict[int, int] = {}
    for place in range(pattern.size):
        other = generator.randrange(place, pattern.size)
        index, moved[other] = moved.get(other, other), moved.get(place, place)
        words = pattern.choice(index)
        if words is not None:
            yield pattern, words


def _round_robin(streams: Sequence[Iterator[Draw]]) -> Iterator[Draw]:
    """Yield from each stream in turn until all are empty."""
    waiting = deque(streams)
    while waiting:
        stream = waiting.popleft()
        draw = next(stream, None)
        if draw is not None:
            waiting.append(stream)
            yield draw


def _take(draws: Iterator[Draw], number: int, generator: random.Random, what: str) -> list[Pair]:
    """Return the first `number` pairs of `draws`, shuffled. Raises UsageError when there are fewer."""
    pairs: list[Pair] = []
    while len(pairs) < number and (draw := next(draws, None)) is not None:
        pattern, words = draw
        pairs.append(pattern.render(words))
    if len(pairs) < number:
        raise UsageError(f"The phrase grammar has {len(pairs):,} {what}, not {number:,}: ask for fewer.")
    generator.shuffle(pairs)
    return pairs


def translate(english: str) -> str | None:
    """Return the Chinese of a sentence of the grammar, or None for any other sentence."""
    wanted = english.lower()
    for pattern in load_grammar().patterns:
        if all(segment.text.strip().lower() in wanted for segment in pattern.english if segment.slot < 0):
            slots = [_possible(pattern, place, wanted) for place in range(len(pattern.slots))]
            for words in itertools.product(*slots):
                if pattern.render(words)[0] == english:
                    return pattern.render(words)[1]
    return None


def _possible(pattern: Pattern, place: int, wanted: str) -> list[Word]:
    """Return the words of slot `place` of which some form stands in the sentence `wanted`."""
    return [word for word in pattern.slots[place] if any(form.lower() in wanted for form in word.forms.values())]
