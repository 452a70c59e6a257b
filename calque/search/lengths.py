"""Length: the divisor of a hypothesis' score, and the longest hypothesis.

Wu et al. 2016, "Google's Neural Machine Translation System", for the "gnmt" form.
"""

from typing import overload

import torch
from torch import Tensor

from calque.search.options import SearchConfig

# A search without an end-of-sentence takes time with the tokens of all hypotheses. A tiny model computes so many in a
# few seconds. The output of this short source is measured, since the user chooses longer sources, not the recipe.
MOST_TOKENS, SHORT_SOURCE, NARROW_BEAM = 4_096, 8, 4


@overload
def divisor(length: float, options: SearchConfig) -> float: ...
@overload
def divisor(length: Tensor, options: SearchConfig) -> Tensor: ...
def divisor(length: float | Tensor, options: SearchConfig) -> float | Tensor:
    """Return the divisor of a sum of log-probabilities of `length` tokens with </s>; tensors are float32."""
    alpha = 0.0 if options.normalisation == "none" else options.length_penalty
    # In double precision, so that a tensor of lengths gives the same values as single numbers.
    number = length.double() if isinstance(length, Tensor) else length
    power: float | Tensor = ((number + 5) / 6 if options.normalisation == "gnmt" else number) ** alpha
    return power.float() if isinstance(power, Tensor) else power


def largest_divisor(shortest: Tensor, longest: Tensor, options: SearchConfig) -> Tensor:
    """Return the largest divisor [B] of any length from `shortest` to `longest` [B]; it is at one of the two ends."""
    return torch.maximum(divisor(longest, options), divisor(shortest, options))


def longest_output(source_length: int, options: SearchConfig) -> int:
    """Return the maximum number of tokens in the output of one source, without </s>, as `max_lengths` does."""
    return max(int(source_length * options.max_length_ratio) + options.max_length_extra, options.min_length)


def max_lengths(source_lengths: Tensor, options: SearchConfig) -> Tensor:
    """Return the maximum number of tokens [B] of each output, without </s>; never less than `min_length`."""
    limits = (source_lengths.double() * options.max_length_ratio).long() + options.max_length_extra
    return limits.clamp(min=options.min_length)


def too_long_a_search(options: SearchConfig) -> str | None:
    """Return the problem of settings that let a short source take minutes and gigabytes, or None."""
    longest, beam = longest_output(SHORT_SOURCE, options), max(NARROW_BEAM, options.beam)
    if longest * beam <= MOST_TOKENS:
        return None
    changed = {name: value for name, value in options if value != SearchConfig.model_fields[name].default}
    lengths = ("max_length_ratio", "max_length_extra", "min_length")
    values = ", ".join(f"search.{name} is {changed[name]}" for name in ("beam", "n_best", *lengths) if name in changed)
    narrower = MOST_TOKENS // longest
    way_out = f"set search.beam = {narrower}" if NARROW_BEAM <= narrower < options.beam else "lower the lengths"
    return (
        f"{values}: the output of a source of {SHORT_SOURCE} tokens may have {longest:,} tokens, and this length times"
        f" the beam (at least {NARROW_BEAM}) must be at most {MOST_TOKENS:,}; {way_out}"
    )
