"""Long sources: each way to shorten one keeps what belongs to every part, and every token has its extras."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calque.errors import DataError
from calque.ids import EOS, UNK
from calque.text.inputs import join_sources
from calque.text.source import SourceIds
from calque.text.too_long import ANSWERED, TRAINED, TooLong, checked_too_long, fitted, fitted_pair

SHORTENING: tuple[TooLong, ...] = ("head", "tail", "head_tail", "windows")
VOCAB = 1_000


def source(length: int, lead: int = 0, tail: int = 0) -> SourceIds:
    """Return a source of the tokens 100, 101, …, each of which copies to itself + 1; lead and tail are 7 and 8."""
    tokens = list(range(100, 100 + length))
    own = SourceIds(tokens, copy_ids=[token + 1 for token in tokens])
    return own.framed([7] * lead, [8] * tail)


@given(st.integers(0, 60), st.integers(0, 2), st.integers(0, 2), st.integers(6, 30), st.sampled_from(sorted(ANSWERED)))
def test_parts_fit_and_have_lead_and_tail(length: int, lead: int, tail: int, longest: int, how: TooLong) -> None:
    whole = source(length, lead, tail)
    if len(whole) <= longest:
        assert fitted(whole, longest, how) == [whole]
        return
    if how == "refuse":
        with pytest.raises(DataError, match=f"has {len(whole) + 1} tokens, but the model reads {longest + 1}"):
            fitted(whole, longest, how)
        return
    parts = fitted(whole, longest, how)
    assert (not parts) == (how == "drop")
    for part in parts:
        assert part.is_part
        assert len(part) <= longest
        assert part.tokens[:lead] == [7] * lead
        assert part.tokens[len(part) - tail :] == [8] * tail
        own = part.tokens[lead : len(part) - tail]
        assert own == sorted(set(own))
        assert part.copy_ids is not None
        assert part.copy_ids[lead : len(part) - tail] == [token + 1 for token in own]
    read = set(itertools.chain.from_iterable(part.tokens for part in parts))
    if how in ("split", "windows"):
        assert read >= set(whole.tokens)
    if how in ("head", "head_tail"):
        assert 100 in read
    if how in ("tail", "head_tail"):
        assert 99 + length in read


def test_windows_overlap_by_half() -> None:
    windows = [set(part.tokens) for part in fitted(source(40), 10, "windows")]
    assert all(len(one & other) >= 5 for one, other in itertools.pairwise(windows))


@pytest.mark.parametrize("how", SHORTENING)
def test_only_the_last_of_several_sources_is_shortened(how: TooLong) -> None:
    question, context = SourceIds([50, 51], copy_ids=[50, 51]), source(20)
    for part in fitted(join_sources([question, context], VOCAB), 10, how):
        assert part.tokens[:3] == [50, 51, EOS]
        assert part.segments == [0, 0, 0, *[1] * (len(part) - 3)]
        assert len(part) == 10


def test_several_sources_and_graphs_are_not_split() -> None:
    several = join_sources([source(5), source(20)], VOCAB)
    graph = SourceIds(list(range(30)), edges=[(0, 29, 1)])
    assert fitted(several, 10, "split") == [several]
    for how in ("split", *SHORTENING):
        assert fitted(graph, 10, how) == [graph]
        assert fitted_pair(graph, [9], 10, how, VOCAB) is None


@pytest.mark.parametrize("how", SHORTENING)
def test_training_reads_the_shortened_source_with_the_whole_target(how: TooLong) -> None:
    pair = fitted_pair(source(40), [121, 122], 10, how, VOCAB)
    assert pair is not None
    assert pair[1] == [121, 122]
    assert len(pair[0]) == 10
    if how == "windows":
        assert pair[0].copy_ids is not None
        assert {121, 122} <= set(pair[0].copy_ids)
    assert how in TRAINED


@pytest.mark.parametrize("how", ["split", "drop"])
def test_long_pairs_are_left_out_of_training(how: TooLong) -> None:
    assert fitted_pair(source(40), [5], 10, how, VOCAB) is None
    assert fitted_pair(source(9), [5], 10, how, VOCAB) == (source(9), [5])


def test_a_pair_without_a_window_that_contains_the_target_is_left_out() -> None:
    assert fitted_pair(source(40), [121, 131], 10, "windows", VOCAB) is None


def test_a_copied_form_that_is_no_longer_in_the_source_becomes_unknown() -> None:
    whole = SourceIds(list(range(100, 120)), copy_ids=[VOCAB, *range(101, 119), VOCAB + 1], forms=("first", "last"))
    pair = fitted_pair(whole, [VOCAB, 5, VOCAB + 1], 10, "head", VOCAB)
    assert pair is not None
    assert pair[1] == [VOCAB, 5, UNK]


def test_a_value_of_a_model_folder_is_checked() -> None:
    assert [checked_too_long(value) for value in ANSWERED] == list(ANSWERED)
    for value in ("both", None, 3, ["head"]):
        with pytest.raises(ValueError, match=r"data\.too_long is .* must be one of split, head"):
            checked_too_long(value)
