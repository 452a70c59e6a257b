"""Models with random weights, whose distributions are far from flat and whose outputs end: in memory and as folders."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calque.batch import Batch
from calque.catalog import architecture
from calque.data.collate import collate_pairs
from calque.exchange.out_folder import write_model_folder
from calque.ids import BOS, EOS, PAD, UNK
from calque.model import ModelConfig, Seq2Seq, build
from calque.search.options import SearchConfig
from calque.tasks.kinds import TaskConfig
from calque.text.pair import TextPair
from calque.text.source import SourceIds, plain_sources
from calque.text.tokenizers.frame import NO_FRAME, Frame
from calque.text.tokenizers.symbols import Vocabulary, WordTokenizer

SOURCE_WORDS, TARGET_WORDS = 19, 17
GREEDY = SearchConfig(beam=1, max_length_ratio=1.0, max_length_extra=4)


@torch.no_grad()
def redrawn(config: ModelConfig, source_size: int, target_size: int, seed: int = 5) -> Seq2Seq:
    """Build a model and draw every weight again; </s> is the likeliest after one prefix in seven."""
    torch.manual_seed(seed)
    model = build(config, source_size, target_size)
    for name, parameter in model.named_parameters():
        parameter.uniform_(-0.7, 0.7)
        if "norm" in name and name.endswith("weight"):
            parameter.add_(1.0)
    bias = model.head.projection.bias
    bias[[PAD, UNK, BOS]] += 0.5
    sources = plain_sources(sentences(60, source_size))
    if config.head.kind == "pointer":
        sources = [SourceIds(source.tokens, [4] * len(source.tokens)) for source in sources]
    batch = collate_pairs(sources, sentences(60, target_size, seed=4), target_size)
    log_probs = step_log_probs(model.eval(), batch)[batch.target.mask]
    lead = log_probs[:, EOS + 1 :].amax(dim=-1) - log_probs[:, EOS]
    bias[EOS] += lead.quantile(1 / 7)
    return model


@torch.no_grad()
def step_log_probs(model: Seq2Seq, batch: Batch) -> Tensor:
    """Return log-probabilities [B, T, V] of what follows each target input, one step after the other."""
    context, state = model.start(batch.source)
    steps = []
    for token in batch.target.inputs.unbind(dim=1):
        log_probs, state = model.step(token, state, context)
        steps.append(log_probs)
    return torch.stack(steps, dim=1)


def narrow(name: str, width: int = 12) -> dict[str, Any]:
    """Return a named architecture at the smallest size, and narrower."""
    section = architecture(name, "tiny")
    wide = {"heads": 3, "feed_forward": 20}
    for side in ("encoder", "decoder"):
        part = section[side]
        small = {"width": width, "hops" if part["kind"] == "memory" else "layers": 2}
        section[side] = part | small | (wide if part["kind"] == "transformer" else {})
    return section


def sentences(count: int, size: int, seed: int = 3, longest: int = 9) -> list[list[int]]:
    """Return ids of sentences of different lengths."""
    draw = random.Random(seed)
    return [[draw.randrange(4, size) for _ in range(draw.randint(1, longest))] for _ in range(count)]


def words(joint: bool = False) -> TextPair:
    """Return tokenizers of made-up words."""
    source = WordTokenizer(Vocabulary([f"s{number}" for number in range(SOURCE_WORDS)]))
    target = source if joint else WordTokenizer(Vocabulary([f"t{number}" for number in range(TARGET_WORDS)]))
    return TextPair(source, target, joint, "nfc")


def write_random(folder: Path, section: dict[str, Any], frame: Frame = NO_FRAME, seed: int = 5) -> Path:
    """Write a model folder of a `model` section with random weights."""
    config = ModelConfig.model_validate(section)
    text = replace(words(joint=config.tie_embeddings == "all"), frame=frame, copying=config.head.kind == "pointer")
    model = redrawn(config, text.source.vocab_size, text.target.vocab_size, seed)
    sections = {
        "format": 1,
        "data": {"max_length": 100},
        "model": config.model_dump(),
        "search": GREEDY.model_dump(),
        "task": TaskConfig().model_dump(),
    }
    write_model_folder(folder, sections, dict(model.named_parameters()), text)
    return folder
