"""Relations between positions of a graph: its edges, reversed edges, and an edge from each position to itself
(the extended Levi graph of Beck et al. 2018), as dense matrices for use in matrix products.
"""

import torch
from torch import Tensor

from calque.batch import Source
from calque.errors import UsageError

# An edge of this kind from a position to the next one means that both are tokens of the same node
# (`calque.text.graph.layout`).
NEXT = 1
ADVICE = "set text.layout.kind to graph or dependencies, or for plain text to neighbours or ngrams"


def num_relations(edge_kinds: int) -> int:
    """Return K, the number of relations: each kind forward, each kind reversed, and self."""
    return 2 * edge_kinds + 1


def relations(source: Source, edge_kinds: int) -> Tensor:
    """Return a mask [B, K, S, S] bool: which of K relations lead to each position (row) from each other one (column).

    An edge joins all tokens of its two nodes. Padding has only its self edge.
    """
    forward = _forward(source, edge_kinds)
    size = source.tokens.shape[1]
    own = torch.eye(size, dtype=torch.bool, device=forward.device).expand(forward.shape[0], 1, size, size)
    return torch.cat([forward, forward.transpose(2, 3), own], dim=1)


def _forward(source: Source, edge_kinds: int) -> Tensor:
    """Return a mask [B, kinds, S, S] bool of edges, to the row from the column."""
    if source.edges is None:
        raise UsageError(f"model.encoder reads graphs, but the source has no edges; {ADVICE}")
    start, end, kind = source.edges.unbind(dim=2)
    first = _first_tokens(source.tokens, start, end, kind)
    is_next = kind == NEXT
    start, end = (torch.where(is_next, place, first.gather(1, place)) for place in (start, end))
    rows = torch.arange(kind.shape[0], device=kind.device).unsqueeze(1).expand_as(kind)
    size = source.tokens.shape[1]
    # Kind 0 is padding; its matrix is dropped below.
    between = torch.zeros(kind.shape[0], edge_kinds + 1, size, size, dtype=torch.bool, device=kind.device)
    between[rows, kind, end, start] = True
    # [B, S] -> rows and columns of [B, kinds, S, S]: all tokens of a node have the edges of its first token
    shape = (kind.shape[0], edge_kinds - 1, size, size)
    others = between[:, NEXT + 1 :].gather(2, first[:, None, :, None].expand(shape))
    others = others.gather(3, first[:, None, None, :].expand(shape))
    return torch.cat([between[:, NEXT : NEXT + 1], others], dim=1)


def _first_tokens(tokens: Tensor, start: Tensor, end: Tensor, kind: Tensor) -> Tensor:
    """Return the position [B, S] of the first token of each token's node."""
    continues = (kind == NEXT) & (end == start + 1)
    inside = torch.zeros(tokens.shape, dtype=torch.bool, device=tokens.device)
    # No node continues at position 0, so it serves as the target of all other edges and is reset afterwards.
    rows = torch.arange(kind.shape[0], device=kind.device).unsqueeze(1).expand_as(kind)
    inside[rows, torch.where(continues, end, 0)] = True
    inside[:, 0] = False
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    # The number of each token's node [B, S], and the first position of each node.
    node = (~inside).cumsum(dim=1) - 1
    begins = torch.zeros_like(tokens).scatter_add(1, node, torch.where(inside, 0, places))
    return begins.gather(1, node)
