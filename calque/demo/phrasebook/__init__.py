"""The phrase grammar that `calque demo` learns: everyday English to simplified Chinese, written for calque.

`words.txt` and `patterns.txt` are the data; an English sentence has exactly one Chinese one, so exact match measures.
"""

from calque.demo.phrasebook.grammar import load_grammar
from calque.demo.phrasebook.sampling import sample_pairs, split_pairs, translate

__all__ = [
    "count_pairs",
    "examples_to_try",
    "num_patterns",
    "num_words",
    "sample_pairs",
    "split_pairs",
    "translate",
]


def num_patterns() -> int:
    """Return the number of sentence patterns."""
    return len(load_grammar().patterns)


def num_words() -> int:
    """Return the number of distinct words (English headword with its Chinese)."""
    return len({(word.forms["en"], word.forms.get("zh", "")) for word in load_grammar().words})


def count_pairs() -> int:
    """Return the exact number of distinct pairs: no two choices of words give the same English sentence."""
    return sum(pattern.count for pattern in load_grammar().patterns)


def examples_to_try() -> list[str]:
    """Return six English sentences of the grammar, each of another topic and word order."""
    return [
        "I left my umbrella at the library.",
        "Could you bring me two pairs of chopsticks?",
        "The train to Shanghai leaves at half past three.",
        "My older sister is taller than Tom.",
        "It takes twenty minutes by bus from the hotel to the airport.",
        "We did not go to the park because it was raining.",
    ]
