"""Train with JoeyNMT's own trainer; its updates are counted at the optimizer's step."""

import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from common import Job, read_job, say, say_versions
from joeynmt import training
from torch.optim.optimizer import register_optimizer_step_post_hook

NEVER = 1_000_000
TRANSFORMER = {
    "type": "transformer",
    "num_layers": 4,
    "num_heads": 4,
    "hidden_size": 256,
    "ff_size": 1024,
    "dropout": 0.3,
    "layer_norm": "pre",
    "activation": "relu",
    "embeddings": {"embedding_dim": 256, "scale": True, "dropout": 0.3},
}
RECURRENT = {
    "type": "recurrent",
    "rnn_type": "lstm",
    "num_layers": 2,
    "dropout": 0.3,
    "embeddings": {"embedding_dim": 512, "scale": False, "dropout": 0.3},
}


def model(job: Job) -> dict[str, Any]:
    """Return the `model` section: the Transformer, or an LSTM with Luong's attention."""
    shared = {"initializer": "xavier_uniform", "embed_initializer": "xavier_uniform", "bias_initializer": "zeros"}
    shared |= {"tied_embeddings": True, "tied_softmax": True}
    if job["architecture"] == "transformer":
        return {**shared, "encoder": TRANSFORMER, "decoder": TRANSFORMER}
    encoder = {**RECURRENT, "hidden_size": 256, "bidirectional": True}
    decoder = {"hidden_size": 512, "hidden_dropout": 0.3, "input_feeding": False, "attention": "luong"}
    return {**shared, "encoder": encoder, "decoder": {**RECURRENT, **decoder, "init_hidden": "bridge"}}


def side(job: Job, language: str, vocabulary: Path) -> dict[str, Any]:
    """Return the settings of one side's text: words between blanks, all of them known."""
    return {
        "lang": language,
        "max_length": 400,
        "min_length": 1,
        "level": "word",
        "lowercase": False,
        "normalize": False,
        "voc_file": str(vocabulary),
    }


def configuration(job: Job) -> dict[str, Any]:
    """Return JoeyNMT's configuration."""
    data, work = Path(job["data"]), Path(job["work"])
    pieces = (data / "pieces.txt").read_text(encoding="utf-8").splitlines()
    vocabulary = work / "vocabulary.txt"
    specials = ["<unk>", "<pad>", "<s>", "</s>"]
    names = [*specials, *(piece for piece in pieces if piece not in specials)]
    vocabulary.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    symbols = {"unk_token": "<unk>", "unk_id": 0, "pad_token": "<pad>", "pad_id": 1, "bos_token": "<s>", "bos_id": 2}
    symbols |= {"eos_token": "</s>", "eos_id": 3}
    train = {
        "optimizer": "adam",
        "adam_betas": [0.9, 0.98],
        "learning_rate": 0.0005,
        "learning_rate_min": 1e-9,
        "scheduling": "warmupinversesquareroot",
        "learning_rate_warmup": 400,
        "clip_grad_norm": 1.0,
        "loss": "crossentropy",
        "label_smoothing": 0.1,
        "normalization": "tokens",
        "batch_size": job["batch"],
        "batch_type": "token",
        "epochs": 100,
        "updates": job["updates"] + 1,
        "validation_freq": NEVER,
        "logging_freq": 1,
        "early_stopping_metric": "ppl",
        "shuffle": True,
    }
    return {
        "name": "speed",
        "model_dir": str(work / "model"),
        "use_cuda": False,
        "fp16": False,
        "random_seed": job["seed"],
        "num_workers": 0,
        "data": {
            "train": str(data / "train"),
            "dev": str(data / "val"),
            "dataset_type": "plain",
            "special_symbols": symbols,
            "src": side(job, "en", vocabulary),
            "trg": side(job, "de", vocabulary),
        },
        "testing": {"beam_size": 5, "batch_size": 64, "batch_type": "sentence", "eval_metrics": ["bleu"]},
        "training": train,
        "model": model(job),
    }


def watch_updates() -> None:
    """Tell each step of the optimizer, with the real target tokens of the batches before it."""
    seen = {"update": 0, "tokens": 0}
    own_step = training.TrainManager._train_step

    def step(manager: Any, batch: Any) -> Any:
        seen["tokens"] += int(batch.ntokens)
        return own_step(manager, batch)

    def stepped(*_: Any) -> None:
        seen["update"] += 1
        say(update=seen["update"], tokens=seen["tokens"])
        seen["tokens"] = 0

    training.TrainManager._train_step = step
    register_optimizer_step_post_hook(stepped)


def main() -> None:
    """Train and tell each update."""
    job = read_job()
    torch.set_num_threads(job["threads"])
    say_versions("joeynmt", "torch")
    say(counts="cells of a batch (longest sentence × sentences), unsorted", precision="fp32")
    path = Path(job["work"]) / "configuration.yaml"
    path.write_text(yaml.safe_dump(configuration(job)), encoding="utf-8")
    watch_updates()
    from joeynmt.__main__ import main as joey

    sys.argv = ["joeynmt", "train", str(path), "--skip-test"]
    joey()


if __name__ == "__main__":
    main()
