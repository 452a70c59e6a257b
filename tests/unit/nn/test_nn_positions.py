"""Each kind of positions by its paper's formula, written as plain loops, and a step's rows at their own positions."""

import cmath
import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from calque.errors import UsageError
from calque.nn.embedding import sinusoids
from calque.nn.transformer.positions import PartShape, Positions, PositionsConfig, rotate, slopes

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
WIDTH, HEADS, HEAD_WIDTH = 12, 3, 4
KINDS = ("sinusoidal", "learned", "relative", "rotary", "alibi", "none")


def built(kind: str, sees_ahead: bool = True, **fields: object) -> Positions:
    torch.manual_seed(0)
    config = TypeAdapter(PositionsConfig).validate_python({"kind": kind, **fields})
    return config.build(PartShape("model.encoder", WIDTH, HEADS, HEAD_WIDTH, 0.3, sees_ahead))


def bias(positions: Positions, num_looking: int, num_places: int) -> torch.Tensor:
    """Return the bias [H, T, C] where nothing is hidden."""
    place = torch.arange(num_places)
    nothing = torch.zeros(1, num_looking, num_places)
    return positions.biased(nothing, place[:num_looking], place).expand(HEADS, -1, -1)


def t5_bucket(ahead: int, buckets: int, distance: int, sees_ahead: bool) -> int:
    """Raffel et al. 2020 and their code: half exact, half in logarithmic groups; two directions share them."""
    bucket = 0
    if sees_ahead:
        buckets //= 2
        if ahead > 0:
            bucket = buckets
        far = abs(ahead)
    else:
        far = max(-ahead, 0)
    exact = buckets // 2
    if far < exact:
        return bucket + far
    grouped = exact + int(math.log(far / exact) / math.log(distance / exact) * (buckets - exact))
    return bucket + min(grouped, buckets - 1)


@pytest.mark.parametrize("sees_ahead", [True, False])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (8, 20), (4, 3)])
def test_relative_biases_are_those_of_t5(sees_ahead: bool, buckets: int, distance: int) -> None:
    positions = built("relative", sees_ahead, buckets=buckets, distance=distance)
    found = bias(positions, 150, 150)
    for looking, place in [(0, 0), (0, 1), (1, 0), (149, 0), (0, 149), (70, 61), (61, 70), (100, 84), (12, 140)]:
        bucket = t5_bucket(place - looking, buckets, distance, sees_ahead)
        torch.testing.assert_close(found[:, looking, place], positions.weight[bucket])
    used = {t5_bucket(ahead, buckets, distance, sees_ahead) for ahead in range(-149, 150)}
    assert set(positions.bucket(torch.arange(-149, 150)).tolist()) == used


def test_alibi_lowers_by_slope_times_distance() -> None:
    found = bias(built("alibi"), 5, 5)
    for head, slope in enumerate(slopes(HEADS)):
        for looking in range(5):
            for place in range(5):
                assert found[head, looking, place].item() == pytest.approx(-slope * abs(looking - place))


def test_slopes_of_alibi() -> None:
    """Press et al. 2022: 1/2, 1/4, … 1/256 for 8 heads; 12 heads take those of 8, then every other one of 16's."""
    assert slopes(8) == [2.0**-power for power in range(1, 9)]
    assert slopes(16)[:3] == pytest.approx([2**-0.5, 2**-1.0, 2**-1.5])
    assert slopes(12) == pytest.approx([*slopes(8), *slopes(16)[0:8:2]])
    assert slopes(1) == [2.0**-8]


def test_rotary_turns_pairs_as_complex_numbers() -> None:
    """Su et al. 2021: pair i of position m is multiplied by e^(i m θ), θ = 10000^(−2i/d)."""
    position = torch.tensor([0, 1, 7, 300])
    values = torch.randn(2, HEADS, 4, HEAD_WIDTH)
    found = rotate(values, built("rotary").turn(position))
    half = HEAD_WIDTH // 2
    for time, number in enumerate(position.tolist()):
        for pair in range(half):
            turned = complex(values[1, 2, time, pair], values[1, 2, time, pair + half]) * cmath.exp(
                1j * number * 10000 ** (-2 * pair / HEAD_WIDTH)
            )
            assert found[1, 2, time, pair].item() == pytest.approx(turned.real, abs=1e-4)
            assert found[1, 2, time, pair + half].item() == pytest.approx(turned.imag, abs=1e-4)


def test_rotary_products_depend_on_the_distance_alone() -> None:
    positions = built("rotary", base=500.0)
    query, key = torch.randn(2, 1, 1, 1, HEAD_WIDTH).double().unbind(0)

    def product(looking: int, place: int) -> float:
        left, right = (positions.turn(torch.tensor([number])) for number in (looking, place))
        return float((rotate(query, left) * rotate(key, right)).sum())

    assert product(9, 4) == pytest.approx(product(105, 100), abs=1e-4)
    assert product(9, 4) != pytest.approx(product(9, 5), abs=1e-3)


def test_learned_positions_are_rows_of_a_table() -> None:
    positions = built("learned", limit=6)
    assert positions.weight.shape == (6, WIDTH)
    vectors = torch.randn(2, 4, WIDTH)
    torch.testing.assert_close(positions.add_to(vectors, torch.arange(4)), vectors + positions.weight[:4])
    # A hypothesis that runs on stays at the last position; a whole sequence that is too long is an error.
    beyond = positions.add_to(vectors[:, :1], torch.tensor([[5], [9]]))
    torch.testing.assert_close(beyond, vectors[:, :1] + positions.weight[5])
    positions.check(6)
    with pytest.raises(UsageError, match=r"model\.encoder\.positions\.limit is 6: a sequence of 7 tokens"):
        positions.check(7)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "learned"])
def test_other_positions_do_not_end(kind: str) -> None:
    built(kind).check(10**6)


def test_sinusoids_from_another_first_and_with_closed_ends() -> None:
    """As tensor2tensor and fairseq have them: frequencies 10000^(−i/(D/2−1)), the last exactly 1/10000."""
    vectors = built("sinusoidal", first=2, closed=True).add_to(torch.zeros(3, WIDTH), torch.arange(3))
    half = WIDTH // 2
    expected = [
        [f(number / 10000 ** (pair / (half - 1))) for f in (math.sin, math.cos) for pair in range(half)]
        for number in (2, 3, 4)
    ]
    torch.testing.assert_close(vectors, torch.tensor(expected), **CLOSE)
    torch.testing.assert_close(sinusoids(torch.tensor([5]), 2, closed=True), torch.tensor([[math.sin(5), math.cos(5)]]))


def test_no_positions_change_nothing() -> None:
    positions, vectors = built("none"), torch.randn(2, 3, WIDTH)
    assert torch.equal(positions.add_to(vectors, torch.arange(3)), vectors)
    assert bias(positions, 3, 3).eq(0).all()
    assert positions.turn(torch.arange(3)) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sees_ahead", [True, False])
@torch.no_grad()
def test_rows_in_a_step_stand_where_they_stand(kind: str, sees_ahead: bool) -> None:
    """A step gives rows at positions 6, 0 and 3 what a whole sequence gives these positions."""
    positions = built(kind, sees_ahead)
    place, rows = torch.arange(8), torch.tensor([[6], [0], [3]])
    vectors, queries = torch.randn(3, 8, WIDTH), torch.randn(3, HEADS, 8, HEAD_WIDTH)
    whole, step = positions.add_to(vectors, place), positions.add_to(vectors[torch.arange(3)[:, None], rows], rows)
    hidden = torch.zeros(3, 1, 8, 8)
    whole_bias = positions.biased(hidden, place, place).expand(3, HEADS, 8, 8)
    step_bias = positions.biased(hidden[:, :, :1], rows, place).expand(3, HEADS, 1, 8)
    whole_turn, step_turn = positions.turn(place), positions.turn(rows)
    for row, number in enumerate(rows.squeeze(1).tolist()):
        torch.testing.assert_close(step[row, 0], whole[row, number])
        torch.testing.assert_close(step_bias[row, :, 0], whole_bias[row, :, number])
        if whole_turn is not None:
            turned = rotate(queries[:, :, number : number + 1], step_turn)
            torch.testing.assert_close(turned[row, :, 0], rotate(queries, whole_turn)[row, :, number])


def test_rotary_keeps_the_type() -> None:
    turn = built("rotary").turn(torch.arange(3))
    assert rotate(torch.ones(1, HEADS, 3, HEAD_WIDTH, dtype=torch.bfloat16), turn).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("kind", "part", "words"),
    [
        ("sinusoidal", PartShape("model.decoder", 9, 3, 3, 1.0, False), ["model.decoder.width", "even", "9"]),
        ("rotary", PartShape("model.encoder", 9, 3, 3, 1.0, True), ["model.encoder.positions", "rotary", "even", "3"]),
    ],
)
def test_widths_that_do_not_fit_are_named(kind: str, part: PartShape, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        TypeAdapter(PositionsConfig).validate_python({"kind": kind}).build(part)
    for word in words:
        assert word in str(caught.value)


def test_distances_that_all_are_exact_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"distance \(16\) must be more than half of buckets \(32\)"):
        TypeAdapter(PositionsConfig).validate_python({"kind": "relative", "distance": 16})
