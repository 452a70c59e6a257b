"""What joins two positions of a graph: its edges, the same edges reversed, and a self edge for each position
(the extended Levi graph of Beck et al. 2018), as dense matrices of 0 and 1, so that everything after is a product.
"""

import torch
from torch import Tensor

from calque.batch import Source
from calque.errors import UsageError

# An edge of this kind from a position to the one after it says that both are tokens of one node
# (`calque.text.graph.layout`).
NEXT = 1
ADVICE = "set text.layout.kind = graph (or dependencies), or for text a builder: neighbours or ngrams"


def num_relations(edge_kinds: int) -> int:
    """Return K: every kind forward, every kind reversed, and self."""
    return 2 * edge_kinds + 1


def relations(source: Source, edge_kinds: int) -> Tensor:
    """Return which of K relations hold between positions: [B, K, S, S] bool, of each row (to) and column (from).

    An edge joins all tokens of both of its nodes. Padding has its self edge and no other.
    """
    forward = _forward(source, edge_kinds)
    size = source.tokens.shape[1]
    own = torch.eye(size, dtype=torch.bool, device=forward.device).expand(forward.shape[0], 1, size, size)
    return torch.cat([forward, forward.transpose(2, 3), own], dim=1)


def _forward(source: Source, edge_kinds: int) -> Tensor:
    """Return [B, kinds, S, S] bool: whether an edge of that kind leads to the row from the column."""
    if source.edges is None:
        raise UsageError(f"model.encoder reads graphs, but the source has no edges; {ADVICE}")
    start, end, kind = source.edges.unbind(dim=2)
    first = _first_tokens(source.tokens, start, end, kind)
    is_next = kind == NEXT
    start, end = (torch.where(is_next, place, first.gather(1, place)) for place in (start, end))
    rows = torch.arange(kind.shape[0], device=kind.device).unsqueeze(1).expand_as(kind)
    size = source.tokens.shape[1]
    # Kind 0 is padding: it has a matrix of its own, which is left out.
    between = torch.zeros(kind.shape[0], edge_kinds + 1, size, size, dtype=torch.bool, device=kind.device)
    between[rows, kind, end, start] = True
    # [B, S] -> rows and columns of [B, kinds, S, S]: what holds of the first tokens holds of all
    shape = (kind.shape[0], edge_kinds - 1, size, size)
    others = between[:, NEXT + 1 :].gather(2, first[:, None, :, None].expand(shape))
    others = others.gather(3, first[:, None, None, :].expand(shape))
    return torch.cat([between[:, NEXT : NEXT + 1], others], dim=1)


def _first_tokens(tokens: Tensor, start: Tensor, end: Tensor, kind: Tensor) -> Tensor:
    """Return the position [B, S] of the first token of each token's node."""
    goes_on = (kind == NEXT) & (end == start + 1)
    inside = torch.zeros(tokens.shape, dtype=torch.bool, device=tokens.device)
    # Nothing leads on to position 0, so whatever is no such edge is written there and taken back.
    rows = torch.arange(kind.shape[0], device=kind.device).unsqueeze(1).expand_as(kind)
    inside[rows, torch.where(goes_on, end, 0)] = True
    inside[:, 0] = False
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    # The number of each token's node [B, S], and where the node of each number begins.
    node = (~inside).cumsum(dim=1) - 1
    begins = torch.zeros_like(tokens).scatter_add(1, node, torch.where(inside, 0, places))
    return begins.gather(1, node)
