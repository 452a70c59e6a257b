"""The pointer-generator head against See et al. 2017, equation 9, written as loops."""

import math

import pytest
import torch

from calque.errors import UsageError
from calque.model import ModelConfig, build
from calque.nn.heads.pointer import PointerContext, PointerHead
from calque.nn.parts import Output

V, WIDTH = 9, 6
COPY_IDS = torch.tensor([[4, 0, 4, V, 7], [5, V + 1, V, 0, 0]])
FORMS = torch.tensor([[True, False], [True, True]])


def outputs(num_rows: int) -> Output:
    torch.manual_seed(0)
    return Output(torch.randn(num_rows, WIDTH), torch.rand(num_rows, 5).softmax(-1))


@torch.no_grad()
@pytest.mark.parametrize("beam", [1, 3])
def test_probabilities_are_those_of_the_paper(beam: int) -> None:
    head = PointerHead(WIDTH, V, None)
    output = outputs(2 * beam)
    found = head.log_probs(output, PointerContext(COPY_IDS, FORMS)).exp()
    assert found.shape == (2 * beam, V + 2)
    for row in range(2 * beam):
        ids = COPY_IDS[row // beam].tolist()
        hidden, attention = output.hidden[row], output.attention[row]
        p_generate = 1 / (1 + math.exp(-float(head.gate(hidden))))
        expected = [p_generate * float(p) for p in head.projection(hidden).softmax(-1)] + [0.0, 0.0]
        copyable = sum(float(attention[place]) for place, token in enumerate(ids) if token)
        for place, token in enumerate(ids):
            if token:
                expected[token] += (1 - p_generate) * float(attention[place]) / copyable
        torch.testing.assert_close(found[row], torch.tensor(expected), rtol=1e-5, atol=1e-6)
        # The first sentence has one form only: the other's cannot be produced.
        assert (float(found[row, V + 1]) == 0) == (row // beam == 0)


@torch.no_grad()
def test_all_is_generated_where_nothing_can_be_copied() -> None:
    head = PointerHead(WIDTH, V, None)
    output = outputs(2)
    context = PointerContext(torch.zeros(2, 5, dtype=torch.int64), torch.zeros(2, 0, dtype=torch.bool))
    torch.testing.assert_close(head.log_probs(output, context), head.vocabulary.log_probs(output, None))


def test_gradients_are_finite_where_probabilities_are_zero() -> None:
    head = PointerHead(WIDTH, V, None)
    output = Output(torch.randn(2, WIDTH, requires_grad=True), torch.eye(5)[:2].requires_grad_())
    log_probs = head.log_probs(output, PointerContext(COPY_IDS, FORMS))
    log_probs.gather(1, torch.tensor([[V], [V + 1]])).sum().backward()
    for tensor in (output.hidden, output.attention, *head.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


def test_a_decoder_that_looks_nowhere_cannot_copy() -> None:
    part = {"kind": "lstm", "width": 8}
    config = {"encoder": part, "decoder": part | {"attention": {"kind": "none"}}, "head": {"kind": "pointer"}}
    with pytest.raises(UsageError, match=r"model\.head: pointer .* model\.decoder\.attention"):
        build(ModelConfig.model_validate(config), V, V)
