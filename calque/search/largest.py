"""The k largest of very many scores: `torch.topk` over beam × vocabulary takes as long as a small model's step.

The k largest are in the k blocks with the largest maxima, and the maxima of blocks are found at memory speed.
"""

import torch
from torch import Tensor

BLOCK = 64


def largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest values of each row of `scores` [B, N], best first, and their columns, both [B, k].

    For k = 1 the first of equal values is chosen, as by argmax.
    """
    num_blocks = scores.shape[1] // BLOCK
    if num_blocks <= 2 * k:
        return _pick(scores, k)
    whole = num_blocks * BLOCK
    blocks = scores[:, :whole].unflatten(1, (num_blocks, BLOCK))
    _, near = _pick(blocks.amax(-1), k)
    # [B, num_blocks, BLOCK] -> [B, k * BLOCK]: only these blocks, and the rest that fills no block.
    values = blocks.gather(1, near[:, :, None].expand(-1, -1, BLOCK)).flatten(1)
    values, places = _pick(torch.cat([values, scores[:, whole:]], 1), k)
    inside = places < k * BLOCK
    block = near.gather(1, (places // BLOCK).clamp(max=k - 1))
    columns = torch.where(inside, block * BLOCK + places % BLOCK, places - k * BLOCK + whole)
    return values, columns


def _pick(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    if k == 1:
        best = scores.max(-1, keepdim=True)
        return best.values, best.indices
    top = scores.topk(k)
    return top.values, top.indices
