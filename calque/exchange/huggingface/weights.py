"""Convert weights of Hugging Face's encoder-decoders to calque's, and back.

`source_ids[i]` and `target_ids[i]` are Hugging Face's ids of calque's id i, or −1 if there is none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calque.errors import UsageError
from calque.exchange.huggingface.families import family_of, has_one_table, scales_output
from calque.exchange.huggingface.names import WeightMap, weight_maps
from calque.exchange.huggingface.tables import (
    SILENCED,
    fetched,
    have_conflict,
    is_silenced,
    placed,
    placed_bias,
    placed_on_both,
    without_padding,
)
from calque.model import ModelConfig, build
from calque.nn.embedding import sinusoids

Weights = Mapping[str, Tensor]
Ids = Sequence[int]

SOURCE, TARGET, SHARED = "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "shared.weight"
HEAD, BIAS = "lm_head.weight", "final_logits_bias"
# Tensors in some files that no class reads: T5's first table of distances to the memory, M2M-100's computed positions.
UNREAD = (
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
    "encoder.embed_positions.weights",
    "decoder.embed_positions.weights",
)


@dataclass(frozen=True)
class Tables:
    """The tables [V, D] in the order of Hugging Face's ids: source embeddings, target embeddings and the head."""

    source: Tensor
    target: Tensor
    head: Tensor


def fit_tables(
    model: ModelConfig, weights: Weights, config: Mapping[str, object], source_ids: Ids, target_ids: Ids
) -> ModelConfig:
    """Return the model with the `tie_embeddings` that its weights and ids allow, instead of the config's."""
    tables = _tables(_unprefixed(weights), config)
    tie = "none"
    if _same(tables.head, tables.target):
        joint = list(source_ids) == list(target_ids) and _same(tables.source, tables.target)
        tie = "all" if joint else "target"
    return ModelConfig.model_validate(model.model_dump() | {"tie_embeddings": tie})


def to_calque(
    weights: Weights, config: Mapping[str, object], model: ModelConfig, source_ids: Ids, target_ids: Ids
) -> dict[str, Tensor]:
    """Return the named weights of `model` in fp32; UsageError names a missing, unknown or misshapen tensor.

    Rows without one of their ids are 0 and are never produced; of several ids for one of theirs only one is produced,
    and never <s>.
    """
    theirs = _unprefixed(weights)
    tables = _tables(theirs, config)
    shapes = _shapes(model, len(source_ids), len(target_ids))
    _require_tied(model, tables, source_ids, target_ids)
    state = {entry.ours: _joined(theirs, entry, shapes[entry.ours]) for entry in weight_maps(model)}
    embedding_scale, head_scale = _scales(model, config)
    fetched_rows = {
        "encoder.embedding.weight": (tables.source, source_ids, embedding_scale),
        "decoder.embedding.weight": (tables.target, target_ids, embedding_scale),
        "head.projection.weight": (tables.head, target_ids, head_scale),
    }
    for name, (table, ids, scale) in fetched_rows.items():
        if name in shapes:
            rows = fetched(table, ids, name) * scale
            if rows.shape != shapes[name]:
                raise UsageError(f"the embeddings are {table.shape[1]} wide, but config.json gives {shapes[name][1]}")
            state[name] = rows
    state["head.projection.bias"] = _bias(theirs, config, target_ids, len(tables.head))
    _refuse_the_rest(theirs, config, model)
    assert state.keys() == shapes.keys(), state.keys() ^ shapes.keys()
    return state


def to_huggingface(
    state: Weights, model: ModelConfig, config: Mapping[str, object], source_ids: Ids, target_ids: Ids
) -> dict[str, Tensor]:
    """Return the weights of the class of `config`, the inverse of `to_calque`; tied names share one tensor.

    Raises UsageError if ids that share a row of theirs differ in calque, or if a class without a bias needs one.
    """
    family = family_of(config)
    result: dict[str, Tensor] = {}
    for entry in weight_maps(model):
        parts = (state[entry.ours] / entry.scale).chunk(len(entry.theirs))
        for name, part in zip(entry.theirs, parts, strict=True):
            before = part.new_zeros(entry.skip, *part.shape[1:])
            result[name] = torch.cat([before, part]) if entry.skip else part.contiguous()
    if family.positions == "sinusoidal":
        places = torch.arange(_whole(config, "max_position_embeddings"))
        for side in ("encoder", "decoder"):
            result[f"{side}.embed_positions.weight"] = sinusoids(places, model.encoder.width)
    embedding_scale, head_scale = _scales(model, config)
    source = state["encoder.embedding.weight"] / embedding_scale
    target = source if model.tie_embeddings == "all" else state["decoder.embedding.weight"] / embedding_scale
    if family.has_bias:
        is_one = list(source_ids) == list(target_ids)
        target_ids = without_padding(target, target_ids)
        source_ids = target_ids if is_one else source_ids
    result |= _placed_tables(Tables(source, target, target), model, config, source_ids, target_ids)
    prefix = "" if family.model_type == "t5" else "model."
    result = {prefix + name: tensor for name, tensor in result.items()}
    size = len(result[prefix + TARGET])
    bias = placed_bias(state["head.projection.bias"], target_ids, size, family.architecture, family.has_bias)
    if bias is not None:
        result[BIAS] = bias
    result[HEAD] = result[prefix + TARGET]
    if model.tie_embeddings == "none":
        counted = [-1 if silent else number for number, silent in zip(target_ids, is_silenced(target_ids), strict=True)]
        result[HEAD] = placed(state["head.projection.weight"] / head_scale, counted, size)
    # Names that the class does not tie need their own tensors: the file contains each shared tensor only once.
    tied = config.get("tie_word_embeddings") is not False
    return result if tied else {name: tensor.clone() for name, tensor in result.items()}


def _placed_tables(
    rows: Tables, model: ModelConfig, config: Mapping[str, object], source_ids: Ids, target_ids: Ids
) -> dict[str, Tensor]:
    """Return the tables of both sides in the order of their ids, as one table if possible."""
    source, target = rows.source, rows.target
    apart = not has_one_table(config)
    size = _whole(config, "vocab_size")
    # Since version 5, classes with an untied head leave the other tables untied too.
    may_differ = model.tie_embeddings == "none" and config["model_type"] != "t5"
    if model.tie_embeddings == "all":
        table = placed(target, target_ids, size)
    elif not apart and not (may_differ and have_conflict(source, source_ids, target, target_ids)):
        table = placed_on_both(source, source_ids, target, target_ids, size)
    else:
        own = placed(source, source_ids, size)
        others = placed(target, target_ids, _whole(config, "decoder_vocab_size") if apart else size)
        return {SOURCE: own, TARGET: others, **({} if apart else {SHARED: own})}
    return {SHARED: table, SOURCE: table, TARGET: table}


def _unprefixed(weights: Weights) -> dict[str, Tensor]:
    """Return the weights under the names of the class without a head."""
    result: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        short = name.removeprefix("model.").removeprefix("transformer.")
        if not tensor.is_floating_point():
            raise UsageError(f"{name} has type {tensor.dtype}; calque reads only floating-point weights")
        if short in result and not _same(result[short], tensor):
            raise UsageError(f"{name} occurs with and without its prefix, and the two differ")
        result[short] = tensor
    return result


def _tables(theirs: Weights, config: Mapping[str, object]) -> Tables:
    """Return the tables, of which a file may contain any of the copies."""
    tied = config.get("tie_word_embeddings") is not False or config["model_type"] == "t5"
    shares = has_one_table(config)
    head = (HEAD,) if tied else ()
    source = _first(theirs, (SOURCE, SHARED, *((TARGET, *head) if shares else ())))
    target = _first(theirs, (TARGET, SHARED, *((SOURCE,) if shares else ()), *head))
    return Tables(source, target, _first(theirs, (HEAD,)) if HEAD in theirs or not tied else target)


def _first(theirs: Weights, names: Sequence[str]) -> Tensor:
    for name in names:
        if name in theirs:
            if theirs[name].dim() != 2:
                raise UsageError(f"{name} has {theirs[name].dim()} dimensions; a table of embeddings has 2")
            return theirs[name]
    raise UsageError(f"the weights have no {names[0]}")


def _require_tied(model: ModelConfig, tables: Tables, source_ids: Ids, target_ids: Ids) -> None:
    if model.tie_embeddings != "none" and not _same(tables.head, tables.target):
        raise UsageError(f"model.tie_embeddings is {model.tie_embeddings}, but {HEAD} is another table: set none")
    if model.tie_embeddings == "all" and not (
        list(source_ids) == list(target_ids) and _same(tables.source, tables.target)
    ):
        raise UsageError("model.tie_embeddings is all, but source and target embeddings differ: set target")


def _joined(theirs: Weights, entry: WeightMap, shape: torch.Size) -> Tensor:
    """Return a tensor of `shape` from its parts."""
    wanted = (entry.skip + shape[0] // len(entry.theirs), *shape[1:])
    for name in entry.theirs:
        if name not in theirs:
            raise UsageError(f"the weights have no {name}")
        if theirs[name].shape != wanted:
            raise UsageError(
                f"{name} has the shape {_sizes(theirs[name].shape)}; by config.json it must be {_sizes(wanted)}"
            )
    return torch.cat([theirs[name][entry.skip :].float() for name in entry.theirs]) * entry.scale


def _bias(theirs: Weights, config: Mapping[str, object], target_ids: Ids, size: int) -> Tensor:
    """Return calque's bias of each token: theirs, or a very low one for tokens that must not be produced."""
    bias = torch.zeros(size)
    if BIAS in theirs and family_of(config).has_bias:
        if theirs[BIAS].numel() != size:
            raise UsageError(f"{BIAS} has the shape {_sizes(theirs[BIAS].shape)}, but the vocabulary has {size} tokens")
        bias = theirs[BIAS].float().flatten()
        # Weights of calque are never infinite.
        bias = bias.masked_fill(bias == float("-inf"), SILENCED)
    silenced = torch.tensor(is_silenced(target_ids))
    return fetched(bias, target_ids, BIAS).masked_fill(silenced, SILENCED)


def _refuse_the_rest(theirs: Weights, config: Mapping[str, object], model: ModelConfig) -> None:
    """Raise UsageError for tensors that nothing has read, and for positions that are not sinusoids."""
    family = family_of(config)
    known = {SOURCE, TARGET, SHARED, HEAD, *UNREAD, *(name for entry in weight_maps(model) for name in entry.theirs)}
    known |= {BIAS} if family.has_bias else set()
    for name, tensor in theirs.items():
        if family.positions == "sinusoidal" and name.endswith(".embed_positions.weight"):
            width = model.encoder.width
            # Large enough for sines in half precision.
            if (
                tensor.dim() != 2
                or tensor.shape[1] != width
                or not torch.allclose(tensor.float(), sinusoids(torch.arange(len(tensor)), width), atol=2e-2)
            ):
                raise UsageError(f"{name} does not contain sinusoids, which calque's {family.model_type} needs")
        elif name not in known:
            raise UsageError(f"{family.architecture} has no tensor {name} in calque")


def _scales(model: ModelConfig, config: Mapping[str, object]) -> tuple[float, float]:
    """Return the scale of our embeddings and head relative to theirs: T5 does not multiply by √width."""
    if config["model_type"] != "t5":
        return 1.0, 1.0
    assert hasattr(model.encoder, "scale_embeddings"), model.encoder.kind
    share = model.encoder.width**-0.5
    return share if model.encoder.scale_embeddings else 1.0, share if scales_output(config) else 1.0


def _shapes(model: ModelConfig, source_vocab_size: int, target_vocab_size: int) -> dict[str, torch.Size]:
    """Return the shapes of calque's weights, without allocating them."""
    with torch.device("meta"):
        built = build(model, source_vocab_size, target_vocab_size)
    return {name: parameter.shape for name, parameter in built.named_parameters()}


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.shape == other.shape and torch.equal(one, other))


def _whole(config: Mapping[str, object], name: str) -> int:
    value = config[name]
    assert isinstance(value, int), (name, value)
    return value


def _sizes(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "1"
