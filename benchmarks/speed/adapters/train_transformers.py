"""Train Hugging Face's Marian class in a plain loop: the batches sorted by length, Adam, label smoothing, clipping."""

import random
from collections.abc import Iterator
from pathlib import Path

import torch
from common import SIZES, Job, read_job, say, say_versions
from torch import Tensor
from transformers import MarianMTModel, PreTrainedModel

PAD, BEGIN, END, FIRST = 0, 1, 2, 3
# Pairs that are drawn together, sorted by length and cut into batches, as the other systems do.
POOL = 8192


def build(job: Job, kind: type[PreTrainedModel] = MarianMTModel) -> PreTrainedModel:
    """Build a Transformer of the job's size, its three tables one."""
    size = job["pieces"] + FIRST
    width, inner, heads = SIZES[job.get("size", "small")]
    names = ("encoder", "decoder")
    side = {"attention_heads": heads, "ffn_dim": inner}
    sides = {f"{name}_{field}": value for name in names for field, value in side.items()}
    sides |= {f"{name}_layers": count for name, count in zip(names, job.get("layers", (4, 4)), strict=True)}
    return kind(
        kind.config_class(
            vocab_size=size,
            decoder_vocab_size=size,
            d_model=width,
            max_position_embeddings=512,
            activation_function="relu",
            dropout=job.get("dropout", 0.3),
            attention_dropout=0.0,
            activation_dropout=0.0,
            scale_embedding=True,
            pad_token_id=PAD,
            bos_token_id=BEGIN,
            eos_token_id=END,
            decoder_start_token_id=BEGIN,
            forced_eos_token_id=END,
            **sides,
        )
    )


def read_pairs(folder: Path) -> list[tuple[list[int], list[int]]]:
    """Return the ids of all pairs, </s> included."""
    ids = {piece: FIRST + number for number, piece in enumerate((folder / "pieces.txt").read_text().split("\n"))}
    sides = [(folder / f"train.{side}").read_text(encoding="utf-8").splitlines() for side in ("en", "de")]
    coded = [[[*(ids[piece] for piece in line.split()), END] for line in lines] for lines in sides]
    return list(zip(*coded, strict=True))


def batches(pairs: list[tuple[list[int], list[int]]], tokens: int, seed: int) -> Iterator[list[int]]:
    """Yield numbers of pairs, `tokens` target tokens at a time, of like length."""
    draw = random.Random(seed)
    while True:
        order = draw.sample(range(len(pairs)), len(pairs))
        for start in range(0, len(order), POOL):
            pool = sorted(order[start : start + POOL], key=lambda at: (len(pairs[at][1]), len(pairs[at][0])))
            made: list[list[int]] = []
            count = tokens
            for at in pool:
                if count >= tokens:
                    made.append([])
                    count = 0
                made[-1].append(at)
                count += len(pairs[at][1])
            yield from draw.sample(made, len(made))


def padded(rows: list[list[int]]) -> Tensor:
    """Return ids [B, S] of lists of unlike length."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=PAD)


def step(model: PreTrainedModel, sources: Tensor, targets: Tensor, job: Job) -> Tensor:
    """Return the smoothed loss of a batch, summed over real target tokens and divided by their number."""
    begun = torch.cat([torch.full_like(targets[:, :1], BEGIN), targets[:, :-1]], dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=job["precision"] == "bf16"):
        output = model(
            input_ids=sources, attention_mask=(sources != PAD).long(), decoder_input_ids=begun, use_cache=False
        )
        return torch.nn.functional.cross_entropy(
            output.logits.flatten(0, 1).float(), targets.flatten(), ignore_index=PAD, label_smoothing=0.1
        )


def main() -> None:
    """Train and tell each update."""
    job = read_job()
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    say_versions("torch", "transformers")
    model = build(job).train()
    say(counts="real target tokens, </s> included", precision=job["precision"])
    say(parameters=sum(parameter.numel() for parameter in model.parameters()))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4, betas=(0.9, 0.98), fused=True)
    pairs = read_pairs(Path(job["data"]))
    for number, chosen in enumerate(batches(pairs, job["batch"], job["seed"]), start=1):
        targets = padded([pairs[at][1] for at in chosen])
        loss = step(model, padded([pairs[at][0] for at in chosen]), targets, job)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        say(update=number, tokens=int((targets != PAD).sum()), loss=float(loss.detach()))
        if number == job["updates"]:
            return


if __name__ == "__main__":
    main()
