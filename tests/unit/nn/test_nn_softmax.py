"""Softmax by hand is PyTorch's, and so is its gradient, for every mask and every length of rows."""

import pytest
import torch

from calque.nn.attention.short_softmax import SHORT, short_softmax


@pytest.mark.parametrize("length", [1, 2, 11, SHORT - 1, SHORT])
def test_values_and_gradients_are_those_of_torch(length: int) -> None:
    draw = torch.Generator().manual_seed(1)
    scores, upstream = (torch.randn(3, 2, 5, length, generator=draw) * 4 for _ in range(2))
    scores[1, :, :, length // 2 + 1 :] = float("-inf")
    found, expected = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    shares, wanted = short_softmax(found), expected.softmax(dim=-1)
    assert torch.allclose(shares, wanted, atol=1e-5)
    assert not shares[1, :, :, length // 2 + 1 :].any()
    shares.backward(upstream)
    wanted.backward(upstream)
    assert torch.allclose(found.grad, expected.grad, atol=1e-5)
