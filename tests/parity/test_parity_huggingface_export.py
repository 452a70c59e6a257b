"""Parity of models that calque made with the classes of Hugging Face that fit them."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from calque.batch import Batch
from calque.data.collate import collate_pairs
from calque.exchange.huggingface.config import SpecialIds, huggingface_config, model_config
from calque.exchange.huggingface.weights import fit_tables, to_calque, to_huggingface
from calque.folder.model_file import fill
from calque.folder.weights import load_weights, to_bytes
from calque.model import ModelConfig, Seq2Seq, build
from calque.text.source import plain_sources

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SOURCE_SIZE, TARGET_SIZE = 23, 19
PART: dict[str, Any] = {"kind": "transformer", "layers": 2, "width": 16, "heads": 4, "feed_forward": 20}
LEARNED = {"positions": {"kind": "learned", "limit": 30}, "norm_embeddings": True, "activation": "gelu"}
CLOSED = {"positions": {"kind": "sinusoidal", "closed": True, "first": 2}}
RELATIVE = {
    "positions": {"kind": "relative", "buckets": 8, "distance": 7},
    "norm": "rms",
    "bias": False,
    "norm_epsilon": 1e-6,
}
POST = {"norm_position": "post"}
FIXED = {"head": {"kind": "softmax", "learned_bias": False}}


def section(options: dict[str, Any], **rest: Any) -> ModelConfig:
    """Return a model with the same options on both sides, and an encoder that is deeper."""
    part = PART | options
    return ModelConfig.model_validate({"encoder": part | {"layers": 3}, "decoder": part, **rest})


# The last of each says whether source and target have one vocabulary.
KINDS = {
    "pegasus": ("PegasusForConditionalGeneration", section({}, tie_embeddings="all"), True),
    "pegasus-two-vocabularies": ("PegasusForConditionalGeneration", section({"activation": "silu"}), False),
    "pegasus-untied": ("PegasusForConditionalGeneration", section({}, tie_embeddings="none"), False),
    "pegasus-untied-joint": ("PegasusForConditionalGeneration", section({}, tie_embeddings="none"), True),
    "marian": ("MarianMTModel", section(POST, tie_embeddings="all"), True),
    "marian-two-vocabularies": ("MarianMTModel", section(POST), False),
    "marian-untied": ("MarianMTModel", section(POST | {"activation": "gelu_tanh"}, tie_embeddings="none"), False),
    "bart": ("BartForConditionalGeneration", section(LEARNED | POST, tie_embeddings="all"), True),
    "bart-two-vocabularies": ("BartForConditionalGeneration", section(LEARNED | POST), False),
    "mbart": ("MBartForConditionalGeneration", section(LEARNED, tie_embeddings="all"), True),
    "m2m-100": ("M2M100ForConditionalGeneration", section(CLOSED, tie_embeddings="all", **FIXED), True),
    "t5": ("T5ForConditionalGeneration", section(RELATIVE, tie_embeddings="all", **FIXED), True),
    "t5-wide-heads": (
        "T5ForConditionalGeneration",
        section(RELATIVE | {"head_width": 6, "activation": "geglu"}, tie_embeddings="all", **FIXED),
        True,
    ),
    "t5-unscaled": (
        "T5ForConditionalGeneration",
        section(RELATIVE | {"activation": "swiglu", "scale_embeddings": False}, tie_embeddings="all", **FIXED),
        True,
    ),
    "t5-untied": (
        "T5ForConditionalGeneration",
        section(RELATIVE | {"activation": "geglu_tanh"}, tie_embeddings="none", **FIXED),
        True,
    ),
}


def made(config: ModelConfig, joint: bool) -> Seq2Seq:
    """Build calque's model with a value of its own for each weight."""
    ours = build(config, TARGET_SIZE if joint else SOURCE_SIZE, TARGET_SIZE).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
        if config.encoder.positions.kind == "relative":
            # T5 has one table for both sides, with every head.
            ours.encoder.embedding.weight.copy_(ours.decoder.embedding.weight)
    return ours


def ids_of(name: str, joint: bool) -> tuple[list[int], list[int], SpecialIds]:
    """Return where calque's ids go: a vocabulary each for Marian, one behind the other where there is one table."""
    if name == "m2m-100":
        # Positions count from the id of padding on.
        target = [1, 0, *range(2, TARGET_SIZE)]
        return target, target, SpecialIds(pad=1)
    target = list(range(TARGET_SIZE))
    if joint:
        return target, target, SpecialIds()
    offset = 0 if name.startswith("marian") else TARGET_SIZE
    return [offset + number for number in range(SOURCE_SIZE)], target, SpecialIds()


def batch_of(joint: bool) -> Batch:
    """Return pairs of different lengths."""
    size = TARGET_SIZE if joint else SOURCE_SIZE
    sources = [torch.randint(4, size, (length,)).tolist() for length in (7, 2, 4)]
    targets = [torch.randint(4, TARGET_SIZE, (length,)).tolist() for length in (3, 8, 0)]
    return collate_pairs(plain_sources(sources), targets)


def their_log_probs(theirs: Any, batch: Batch, source_ids: list[int], target_ids: list[int]) -> Tensor:
    """Return the log-probabilities [B, T, V] of calque's target ids."""
    logits = theirs(
        input_ids=torch.tensor(source_ids)[batch.source.tokens],
        attention_mask=batch.source.mask.long(),
        decoder_input_ids=torch.tensor(target_ids)[batch.target.inputs],
    ).logits
    chosen: Tensor = logits.log_softmax(-1)[..., target_ids]
    return chosen


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_what_calque_made_is_the_same_there(name: str, transformers: ModuleType, tmp_path: Path) -> None:
    architecture, config, joint = KINDS[name]
    torch.manual_seed(3)
    ours = made(config, joint)
    source_ids, target_ids, specials = ids_of(name, joint)
    one_table = joint or not name.startswith("marian")
    sizes = (max(source_ids + target_ids) + 1,) * 2 if one_table else (SOURCE_SIZE, TARGET_SIZE)
    written = json.loads(json.dumps(huggingface_config(config, *sizes, specials, max_positions=30)))
    assert written["architectures"] == [architecture]
    state = {name: parameter.detach() for name, parameter in ours.named_parameters()}
    weights = to_huggingface(state, config, written, source_ids, target_ids)
    batch = batch_of(joint)
    output = ours.decoder(batch.target.inputs, ours.encoder(batch.source))
    expected = ours.head.log_probs(output, None)
    # The way of a folder, in which nothing may be missing or too much, and what is tied stands once.
    kind = getattr(transformers, architecture)
    once = {tensor.data_ptr(): part for part, tensor in reversed(weights.items())}
    (tmp_path / "config.json").write_text(json.dumps(written))
    (tmp_path / "model.safetensors").write_bytes(to_bytes({part: weights[part] for part in once.values()}))
    theirs, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    mask = batch.target.mask
    found = their_log_probs(theirs.eval(), batch, source_ids, target_ids)
    torch.testing.assert_close(found[mask], expected[mask], **CLOSE)
    # T5 of this version ties its head even if the config forbids it, unless a folder has another.
    if name != "t5-untied":
        again = kind(kind.config_class.from_dict(written)).eval()
        again.load_state_dict(weights, strict=True)
        torch.testing.assert_close(their_log_probs(again, batch, source_ids, target_ids), found, **CLOSE)
    back = to_calque(weights, written, config, source_ids, target_ids)
    assert back.keys() == state.keys()
    for part, tensor in state.items():
        torch.testing.assert_close(back[part], tensor, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_what_they_save_comes_back(name: str, transformers: ModuleType, tmp_path: Path) -> None:
    """Their own folder, whose config.json has more in it and whose weights name shared tables once, is read as well."""
    architecture, config, joint = KINDS[name]
    torch.manual_seed(4)
    ours = made(config, joint)
    source_ids, target_ids, specials = ids_of(name, joint)
    one_table = joint or not name.startswith("marian")
    sizes = (max(source_ids + target_ids) + 1,) * 2 if one_table else (SOURCE_SIZE, TARGET_SIZE)
    written = huggingface_config(config, *sizes, specials, max_positions=30)
    state = {name: parameter.detach() for name, parameter in ours.named_parameters()}
    weights = to_huggingface(state, config, written, source_ids, target_ids)
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    (first / "config.json").write_text(json.dumps(written))
    (first / "model.safetensors").write_bytes(to_bytes(weights))
    getattr(transformers, architecture).from_pretrained(first).save_pretrained(second)
    saved = json.loads((second / "config.json").read_text())
    stored = load_weights(second / "model.safetensors")
    assert stored.keys() <= weights.keys()
    read = fit_tables(model_config(saved), stored, saved, source_ids, target_ids)
    again = build(read, len(source_ids), len(target_ids)).eval()
    fill(again, to_calque(stored, saved, read, source_ids, target_ids), second)
    batch = batch_of(joint)
    expected = ours.head.log_probs(ours.decoder(batch.target.inputs, ours.encoder(batch.source)), None)
    found = again.head.log_probs(again.decoder(batch.target.inputs, again.encoder(batch.source)), None)
    torch.testing.assert_close(found, expected, **CLOSE)
