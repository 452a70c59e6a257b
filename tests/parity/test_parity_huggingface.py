"""Parity with Hugging Face's Marian, Pegasus, BART, mBART, M2M-100 and T5: weights go both ways, numbers stay."""

from types import ModuleType

import pytest
import torch
from huggingface_pairs import (
    KINDS,
    TABLES,
    VOCAB_SIZE,
    Pair,
    forced,
    imported,
    inputs_of,
    log_probs_of,
    pairs_of_ids,
    redraw,
    shuffled_ids,
)
from torch import nn

from calque.exchange.huggingface.names import weight_maps
from calque.exchange.huggingface.tables import SILENCED
from calque.exchange.huggingface.weights import to_calque, to_huggingface
from calque.ids import BOS, PAD
from calque.search.options import SearchConfig
from calque.search.steps import search

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, transformers: ModuleType) -> Pair:
    """Return each class with random weights, beside calque's import of it."""
    kind = KINDS[request.param]
    torch.manual_seed(sorted(KINDS).index(request.param))
    architecture = getattr(transformers, kind.architecture)
    config = architecture.config_class(**kind.config)
    theirs = architecture(config).eval()
    if kind.own_head:
        theirs.lm_head.weight = nn.Parameter(torch.empty_like(theirs.lm_head.weight))
    redraw(theirs)
    source_ids = shuffled_ids(kind, config, VOCAB_SIZE)
    apart = kind.ids_apart or "decoder_vocab_size" in kind.config
    size = kind.config.get("decoder_vocab_size", VOCAB_SIZE)
    return imported(theirs, source_ids, shuffled_ids(kind, config, size) if apart else source_ids)


@torch.no_grad()
def test_the_memory(pair: Pair) -> None:
    batch = pairs_of_ids(pair)
    given = {name: value for name, value in inputs_of(pair, batch).items() if not name.startswith("decoder")}
    expected = pair.theirs.get_encoder()(**given).last_hidden_state
    mask = batch.source.mask
    torch.testing.assert_close(pair.ours.encoder(batch.source).states[mask], expected[mask], **CLOSE)


@torch.no_grad()
def test_log_probabilities_at_once_and_step_by_step(pair: Pair) -> None:
    batch = pairs_of_ids(pair)
    expected, mask = log_probs_of(pair, batch), batch.target.mask
    found = forced(pair.ours, batch)
    torch.testing.assert_close(found[..., pair.counted][mask], expected[mask], **CLOSE)
    # Every id of theirs is counted once, so nothing is left for those that are not.
    torch.testing.assert_close(found[..., pair.counted].exp().sum(-1), torch.ones(mask.shape), **CLOSE)
    uncounted = sorted(set(range(len(pair.target_ids))) - set(pair.counted))
    assert uncounted
    assert (found[..., uncounted] < SILENCED / 2).all()
    context, state = pair.ours.start(batch.source)
    for place in range(mask.shape[1]):
        step, state = pair.ours.step(batch.target.inputs[:, place], state, context)
        there = mask[:, place]
        torch.testing.assert_close(step[:, pair.counted][there], expected[:, place][there], **CLOSE)


def test_loss_and_gradients(pair: Pair) -> None:
    batch = pairs_of_ids(pair)
    labels = torch.tensor(pair.target_ids)[batch.target.labels].masked_fill(~batch.target.mask, -100)
    number = int(batch.target.mask.sum())
    expected = pair.theirs(**inputs_of(pair, batch), labels=labels).loss
    expected.backward()
    loss = pair.ours.losses(batch).sum() / number
    loss.backward()
    torch.testing.assert_close(loss, expected, **CLOSE)
    theirs = {name.removeprefix("model."): value.grad for name, value in pair.theirs.named_parameters()}
    ours = {name: value.grad for name, value in pair.ours.named_parameters()}
    compared = set()
    for entry in weight_maps(pair.section):
        parts = ours[entry.ours].chunk(len(entry.theirs))
        for name, part in zip(entry.theirs, parts, strict=True):
            torch.testing.assert_close(part * entry.scale, theirs[name][entry.skip :], **CLOSE)
            compared.add(name)
    assert all(name.endswith((*TABLES, "embed_positions.weight")) for name in theirs.keys() - compared)
    assert ours.get("head.projection.bias") is None


def test_gradients_of_the_tables(pair: Pair) -> None:
    """A row of theirs gets what calque's rows that stand for it get together; padding gets none where it is read."""
    batch = pairs_of_ids(pair)
    labels = torch.tensor(pair.target_ids)[batch.target.labels].masked_fill(~batch.target.mask, -100)
    pair.theirs(**inputs_of(pair, batch), labels=labels).loss.backward()
    (pair.ours.losses(batch).sum() / int(batch.target.mask.sum())).backward()
    expected = torch.zeros(VOCAB_SIZE, 16)
    for name, parameter in pair.theirs.named_parameters():
        if name.endswith(TABLES) and parameter.grad is not None:
            expected[: len(parameter.grad)] += parameter.grad
    embedding_scale = 0.25 if "t5" in pair.config["model_type"] and pair.section.encoder.scale_embeddings else 1.0
    head_scale = 0.25 if pair.config.get("scale_decoder_outputs", pair.config["model_type"] == "t5") else 1.0
    sides = {
        "encoder.embedding.weight": (pair.source_ids, embedding_scale),
        "decoder.embedding.weight": (pair.target_ids, embedding_scale),
        "head.projection.weight": (pair.target_ids, head_scale),
    }
    found = torch.zeros(VOCAB_SIZE + 1, 16)
    for name, parameter in pair.ours.named_parameters():
        if name in sides:
            ids, scale = sides[name]
            found.index_add_(0, torch.tensor(ids) % (VOCAB_SIZE + 1), parameter.grad * scale)
    others = torch.arange(VOCAB_SIZE) != pair.target_ids[PAD]
    torch.testing.assert_close(found[:-1][others], expected[others], **CLOSE)


@torch.no_grad()
def test_greedy_search_finds_what_generate_finds(pair: Pair) -> None:
    batch = pairs_of_ids(pair)
    options = SearchConfig(beam=1, max_length_ratio=0, max_length_extra=9, min_length=3)
    found = search(pair.ours, batch.source, batch.source.mask.sum(dim=1), options)
    never = {pair.target_ids[PAD]} | ({pair.target_ids[BOS]} if BOS in pair.counted else set())
    inputs = inputs_of(pair, batch)
    expected = pair.theirs.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        num_beams=1,
        do_sample=False,
        max_new_tokens=10,
        min_new_tokens=3,
        suppress_tokens=sorted(never),
        decoder_start_token_id=pair.target_ids[BOS],
        forced_eos_token_id=pair.config["eos_token_id"],
    )
    lengths = found.lengths[:, 0].tolist()
    for row, length in enumerate(lengths):
        tokens = torch.tensor(pair.target_ids)[found.tokens[row, 0, :length]].tolist()
        assert [*tokens, pair.config["eos_token_id"]] == expected[row, 1 : length + 2].tolist()
    assert min(lengths) >= 3


@torch.no_grad()
def test_there_and_back(pair: Pair) -> None:
    """Their weights come back as they were, calque's too, and theirs load with every name in its place."""
    state = {name: parameter.detach() for name, parameter in pair.ours.named_parameters()}
    ids = (pair.source_ids, pair.target_ids)
    back = to_huggingface(state, pair.section, pair.config, *ids)
    weights = pair.theirs.state_dict()
    assert back.keys() == weights.keys()
    # Without ties nothing reads this one.
    unread = (
        {"model.shared.weight"}
        if "pegasus" in pair.config["model_type"] and pair.section.tie_embeddings == "none"
        else set()
    )
    for name, tensor in weights.items():
        if name in unread:
            continue
        learned = pair.section.encoder.positions.kind == "learned"
        skipped = 2 if learned and name.endswith("embed_positions.weight") else 0
        torch.testing.assert_close(back[name][skipped:], tensor[skipped:], rtol=1e-6, atol=1e-6)
    again = to_calque(back, pair.config, pair.section, *ids)
    for name, tensor in state.items():
        torch.testing.assert_close(again[name], tensor, rtol=1e-6, atol=1e-6)
