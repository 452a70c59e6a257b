"""Detect that a model is scored on data of another language, script or task, where the score would be misleading."""

from collections import Counter
from collections.abc import Sequence

from calque.data.files.readers import Example
from calque.metrics.score import Score
from calque.text.graph.graph import readable
from calque.text.pair import TextPair
from calque.text.scripts import UNKNOWN_SCRIPT, count_characters, dominant_script
from calque.text.tokenizers.tokenizer import Tokenizer

# Enough texts to determine a script.
_LOOKED_AT = 2_000
# The share of unknown names and rare characters in suitable data is far below this.
_MOST_UNKNOWN = 0.3
# Tokenizers whose labels are not characters of the text.
_WITHOUT_ALPHABET = ("byte", "imported_byte_pair")


def mismatches(text: TextPair, target_script: str, examples: Sequence[Example], scores: Sequence[Score]) -> list[str]:
    """Return the signs that the data differ from the training data in kind; empty if there are none.

    `text` is the text side of the model and `target_script` the script of the targets that it was trained on, empty
    if unknown.
    """
    found = []
    looked_at = examples[:_LOOKED_AT]
    sources = [text.normalise(readable(part)) for example in looked_at for part in text.inputs.texts(example.source)]
    unknown = _unknown_share(text.source, sources)
    if unknown > _MOST_UNKNOWN:
        problem = f"{unknown:.0%} of the letters of the sources are not in the model's source vocabulary"
        found.append(f"{problem} (they are {dominant_script(sources)}): are they in its source language?")
    script = dominant_script(target for example in looked_at for target in example.targets)
    if UNKNOWN_SCRIPT not in (script, target_script) and target_script and script != target_script:
        found.append(f"the references are {script}, and the model writes {target_script}: are the columns swapped?")
    for score in scores:
        if not score.higher_is_better and score.value > 100:
            problem = f"{score.name} is {score.value:,.0f} %: the answers need more edits than the references are long"
            found.append(f"{problem}. Was the model trained for such data?")
    return found


def _unknown_share(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """Return the share of the letters of `texts` that no entry of the vocabulary contains; 0 where that is unknown."""
    if tokenizer.kind in _WITHOUT_ALPHABET:
        return 0.0
    alphabet = set("".join(tokenizer.pieces(range(tokenizer.vocab_size))))
    letters = Counter({char: count for char, count in count_characters(texts).items() if char.isalpha()})
    # Imported tokenizers may fold case before they look a letter up.
    unknown = sum(count for char, count in letters.items() if not alphabet & {char, char.lower()})
    return unknown / max(1, letters.total())
