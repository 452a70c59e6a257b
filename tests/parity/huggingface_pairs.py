"""Models of Hugging Face in small, of every class and with what else their configs may say, beside calque's imports."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calque.batch import Batch
from calque.data.collate import collate_pairs
from calque.exchange.huggingface.config import model_config
from calque.exchange.huggingface.tables import is_silenced
from calque.exchange.huggingface.weights import fit_tables, to_calque
from calque.folder.model_file import fill
from calque.model import ModelConfig, Seq2Seq, build
from calque.text.source import plain_sources

VOCAB_SIZE = 29
BART: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 40,
    "vocab_size": VOCAB_SIZE,
}
T5: dict[str, Any] = {
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 20,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 7,
    "vocab_size": VOCAB_SIZE,
    "decoder_start_token_id": 0,
}
MARIAN = BART | {
    "activation_function": "swish",
    "scale_embedding": True,
    "pad_token_id": 28,
    "decoder_start_token_id": 28,
    "eos_token_id": 0,
    "forced_eos_token_id": 0,
}
MBART = BART | {"scale_embedding": True, "decoder_start_token_id": 7, "activation_function": "gelu_new"}
PEGASUS = BART | {"activation_function": "relu", "scale_embedding": True}
APART = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 23}
UNTIED = {"tie_word_embeddings": False}
TABLES = ("embed_tokens.weight", "shared.weight", "lm_head.weight")


@dataclass(frozen=True)
class Kind:
    """Hold a class of theirs, its config, its id of the unknown, and whether source and target have ids of their own
    and the start of a target occurs as a token too.
    """

    architecture: str
    config: dict[str, Any]
    unknown: int = 3
    ids_apart: bool = False
    start_is_a_token: bool = True
    own_head: bool = False


KINDS = {
    "marian": Kind("MarianMTModel", MARIAN),
    "marian-apart": Kind("MarianMTModel", MARIAN | APART | {"pad_token_id": 22, "decoder_start_token_id": 22}),
    "marian-apart-untied": Kind(
        "MarianMTModel", MARIAN | APART | UNTIED | {"pad_token_id": 22, "decoder_start_token_id": 22}
    ),
    "pegasus": Kind("PegasusForConditionalGeneration", PEGASUS),
    "pegasus-untied": Kind("PegasusForConditionalGeneration", PEGASUS | UNTIED),
    "bart": Kind("BartForConditionalGeneration", BART),
    "bart-ids-apart": Kind("BartForConditionalGeneration", BART, ids_apart=True),
    "mbart": Kind("MBartForConditionalGeneration", MBART),
    "mbart-start-alone": Kind("MBartForConditionalGeneration", MBART, start_is_a_token=False),
    "m2m-100": Kind("M2M100ForConditionalGeneration", BART | {"scale_embedding": True}),
    "m2m-100-unscaled": Kind("M2M100ForConditionalGeneration", BART | {"scale_embedding": False, "pad_token_id": 4}),
    "t5": Kind("T5ForConditionalGeneration", T5, unknown=2),
    "t5-1.1": Kind(
        "T5ForConditionalGeneration",
        T5 | UNTIED | {"feed_forward_proj": "gated-gelu"},
        unknown=2,
        own_head=True,
    ),
    "t5-1.1-tied": Kind("T5ForConditionalGeneration", T5 | UNTIED | {"feed_forward_proj": "gated-silu"}, unknown=2),
    "t5-own-head": Kind("T5ForConditionalGeneration", T5 | {"d_kv": 4}, unknown=2, own_head=True),
}


@dataclass(frozen=True)
class Pair:
    """Hold the same model twice, and of each of calque's ids theirs."""

    ours: Seq2Seq
    theirs: Any
    section: ModelConfig
    config: dict[str, Any]
    source_ids: list[int]
    target_ids: list[int]

    @property
    def counted(self) -> list[int]:
        """Return calque's target ids that stand for theirs."""
        return [place for place, silent in enumerate(is_silenced(self.target_ids)) if not silent]


def redraw(model: nn.Module) -> None:
    """Give every parameter, norms and biases too, a value of its own."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.copy_(torch.randn_like(model.final_logits_bias))


def shuffled_ids(kind: Kind, config: Any, size: int) -> list[int]:
    """Return theirs for each of calque's ids: the special ones, the rest in some order, and one that they lack."""
    specials = [config.pad_token_id, kind.unknown, config.decoder_start_token_id, config.eos_token_id]
    gone = {specials[0], specials[1], specials[3]} | (set() if kind.start_is_a_token else {specials[2]})
    rest = [number for number in torch.randperm(size).tolist() if number not in gone]
    return [*specials, *rest, -1]


def imported(theirs: Any, source_ids: list[int], target_ids: list[int]) -> Pair:
    """Return a model of theirs with calque's of the same weights, by way of what its files would hold."""
    config = json.loads(theirs.config.to_json_string())
    weights = theirs.state_dict()
    section = fit_tables(model_config(config), weights, config, source_ids, target_ids)
    ours = build(section, len(source_ids), len(target_ids)).eval()
    fill(ours, to_calque(weights, config, section, source_ids, target_ids), Path("there"))
    return Pair(ours, theirs, section, config, source_ids, target_ids)


def pairs_of_ids(pair: Pair) -> Batch:
    """Return sentences of different lengths, padded, in calque's ids."""

    def drawn(ids: Sequence[int], lengths: list[int]) -> list[list[int]]:
        return [torch.randint(4, len(ids) - 1, (length,)).tolist() for length in lengths]

    return collate_pairs(plain_sources(drawn(pair.source_ids, [5, 1, 11])), drawn(pair.target_ids, [9, 4, 0]))


def inputs_of(pair: Pair, batch: Batch) -> dict[str, Tensor]:
    """Return a batch as theirs takes it."""
    return {
        "input_ids": torch.tensor(pair.source_ids)[batch.source.tokens],
        "attention_mask": batch.source.mask.long(),
        "decoder_input_ids": torch.tensor(pair.target_ids)[batch.target.inputs],
    }


def log_probs_of(pair: Pair, batch: Batch) -> Tensor:
    """Return their log-probabilities [B, T, C] of calque's counted ids."""
    logits = pair.theirs(**inputs_of(pair, batch)).logits
    chosen: Tensor = logits.log_softmax(-1)[..., torch.tensor(pair.target_ids)[pair.counted]]
    return chosen


def forced(ours: Seq2Seq, batch: Batch) -> Tensor:
    """Return calque's log-probabilities [B, T, V] with the target given."""
    output = ours.decoder(batch.target.inputs, ours.encoder(batch.source))
    return ours.head.log_probs(output, None)
