"""The options refuse what cannot be; lengths and the k largest are what their definitions say."""

import pytest
import torch
from pydantic import ValidationError
from search_toys import divide

from calque.config import help_of
from calque.search.largest import BLOCK, largest
from calque.search.lengths import divisor, largest_divisor, max_lengths, too_long_a_search
from calque.search.options import SearchConfig


def test_more_outputs_than_hypotheses_are_refused() -> None:
    with pytest.raises(ValidationError, match="set beam to 6 or more, or n_best to 5 or less"):
        SearchConfig(n_best=6)


@pytest.mark.parametrize("wrong", [{"beam": 0}, {"n_best": 0}, {"min_length": -1}, {"max_length_ratio": float("inf")}])
def test_impossible_numbers_are_refused(wrong) -> None:
    with pytest.raises(ValidationError):
        SearchConfig(**wrong)


def test_every_field_has_its_help() -> None:
    assert all(help_of(SearchConfig).get(name) for name in SearchConfig.model_fields)


@pytest.mark.parametrize("normalisation", ["average", "gnmt", "none"])
@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.6, 1.0, 2.0])
def test_divisors(normalisation, alpha) -> None:
    options = SearchConfig(normalisation=normalisation, length_penalty=alpha)
    values = [divide(1.0, length, options) for length in range(1, 30)]
    assert [1 / divisor(float(length), options) for length in range(1, 30)] == pytest.approx(values)
    torch.testing.assert_close(1 / divisor(torch.arange(1, 30), options).float(), torch.tensor(values))
    bound = largest_divisor(torch.tensor([4, 4]), torch.tensor([4, 9]), options)
    brute = [max(divisor(float(length), options) for length in range(4, end + 1)) for end in (4, 9)]
    torch.testing.assert_close(bound, torch.tensor(brute))


def test_longest_lengths() -> None:
    options = SearchConfig(max_length_ratio=1.5, max_length_extra=2, min_length=4)
    assert max_lengths(torch.tensor([0, 1, 3, 100]), options).tolist() == [4, 4, 6, 152]


@pytest.mark.parametrize(
    "settings",
    [
        {"beam": 1024},
        {"min_length": 10_000},
        {"max_length_extra": 10_000},
        {"max_length_ratio": 1_000.0},
        {"beam": 64, "min_length": 1_000},
        {"beam": 1, "max_length_extra": 10_000},
    ],
)
def test_a_search_of_minutes_is_named(settings: dict[str, float]) -> None:
    problem = too_long_a_search(SearchConfig.model_validate(settings))
    assert problem is not None
    assert all(f"search.{name} is {value}" in problem for name, value in settings.items())
    assert len(problem.splitlines()) == 1


@pytest.mark.parametrize(
    "settings", [{}, {"beam": 100}, {"beam": 6, "max_length_ratio": 0.0, "max_length_extra": 512}, {"beam": 1}]
)
def test_searches_that_people_use_are_allowed(settings: dict[str, float]) -> None:
    assert too_long_a_search(SearchConfig.model_validate(settings)) is None


@pytest.mark.parametrize("size", [3, BLOCK, 10 * BLOCK, 10 * BLOCK + 17, 40 * BLOCK + 1])
@pytest.mark.parametrize("k", [1, 2, 10])
def test_the_largest_are_the_largest(size, k) -> None:
    scores = torch.randn(50, size, generator=torch.Generator().manual_seed(size))
    scores[:, ::3] = float("-inf")
    scores[0] = float("-inf")
    k = min(k, size)
    values, columns = largest(scores, k)
    assert torch.equal(values, scores.sort(1, descending=True).values[:, :k])
    assert torch.equal(scores.gather(1, columns), values)
    assert all(len(set(row)) == k for row in columns.tolist())


@pytest.mark.parametrize("size", [5, 10 * BLOCK + 17])
def test_the_first_of_equals_is_taken(size) -> None:
    scores = torch.randint(3, (40, size), generator=torch.Generator().manual_seed(1)).float()
    assert torch.equal(largest(scores, 1)[1][:, 0], scores.argmax(1))
