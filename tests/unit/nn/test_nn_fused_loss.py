"""Projection and likelihood as one function give what the two give apart: losses, gradients, in chunks, in bf16."""

import pytest
import torch
from torch import Tensor, nn

from calque.nn.heads.fused_loss import Projection, projected_losses
from calque.nn.heads.likelihood import smoothed_likelihood

ROWS, WIDTH, SIZE = 11, 6, 17


def parts(dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], Tensor]:
    draw = torch.Generator().manual_seed(1)
    shapes = ((ROWS, WIDTH), (SIZE, WIDTH), (SIZE,))
    made = [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]
    return made, torch.randint(SIZE, (ROWS,), generator=draw)


def apart(tensors: list[Tensor], labels: Tensor, smoothing: float) -> Tensor:
    return smoothed_likelihood(nn.functional.linear(*tensors).log_softmax(dim=-1), labels, smoothing, SIZE)


@pytest.fixture(params=[2, 4, ROWS, 100])
def rows_at_once(request, monkeypatch) -> int:
    monkeypatch.setattr("calque.nn.heads.fused_loss.ROWS_AT_ONCE", request.param)
    return request.param


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("weighing", ["alike", "each by its own"])
def test_losses_and_gradients_are_those_of_the_parts(smoothing: float, weighing: str, rows_at_once: int) -> None:
    tensors, labels = parts()
    weights = torch.rand(ROWS, dtype=torch.float64) if weighing == "each by its own" else torch.tensor(0.37)
    ours, theirs = projected_losses(Projection(*tensors), labels, smoothing), apart(tensors, labels, smoothing)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    for own, other in zip(
        torch.autograd.grad((ours * weights).sum(), tensors),
        torch.autograd.grad((theirs * weights).sum(), tensors),
        strict=True,
    ):
        torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-12)


def test_gradients_by_differences(rows_at_once: int) -> None:
    tensors, labels = parts()
    assert torch.autograd.gradcheck(
        lambda *given: projected_losses(Projection(*given), labels, 0.2), tuple(tensors), atol=1e-7
    )


@pytest.mark.parametrize("size", [1.0, 100.0])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_same_without_gradients(size: float, mode) -> None:
    """Also where scores are so far apart that most probabilities are zero in fp32."""
    tensors, labels = parts(torch.float32)
    tensors = [tensor.detach() * size for tensor in tensors]
    expected = apart([tensor.double() for tensor in tensors], labels, 0.1)
    with mode():
        losses = projected_losses(Projection(*tensors), labels, 0.1)
    assert not losses.requires_grad
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-5)


def test_half_precision_is_near() -> None:
    tensors, labels = parts(torch.float32)
    exact = apart(tensors, labels, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = projected_losses(Projection(*tensors), labels, 0.1)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, exact, rtol=0.05, atol=0.05)
    ours, theirs = (torch.autograd.grad(values.sum(), tensors) for values in (losses, exact))
    for own, other in zip(ours, theirs, strict=True):
        assert own.dtype == torch.float32
        assert (own - other).norm() < 0.02 * other.norm()


def test_a_bias_that_is_not_learned_has_no_gradient() -> None:
    tensors, labels = parts()
    fixed = tensors[2].detach()
    projected_losses(Projection(tensors[0], tensors[1], fixed), labels, 0.1).sum().backward()
    assert fixed.grad is None
    assert tensors[1].grad is not None
