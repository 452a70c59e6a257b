"""Train with eole's own command, the successor of OpenNMT-py, and read the updates from its log."""

import sys
from pathlib import Path
from typing import Any

import yaml
from common import Job, read_job, say, say_versions
from onmt_family import NEVER, corpora, follow, write_vocabulary


def model(job: Job) -> dict[str, Any]:
    """Return the `model` section."""
    if job["architecture"] == "transformer":
        return {
            "architecture": "transformer",
            "layers": 4,
            "heads": 4,
            "hidden_size": 256,
            "transformer_ff": 1024,
            "position_encoding_type": "SinusoidalInterleaved",
            "embeddings": {"word_vec_size": 256},
            "share_embeddings": True,
            "share_decoder_embeddings": True,
        }
    return {
        "architecture": "rnn",
        "layers": 2,
        "hidden_size": 512,
        "rnn_type": "LSTM",
        "bidirectional_encoder": True,
        "embeddings": {"word_vec_size": 512},
        "share_embeddings": True,
        "share_decoder_embeddings": True,
    }


def options(job: Job) -> dict[str, Any]:
    """Return the configuration of a training."""
    vocabulary = str(write_vocabulary(job))
    return {
        "data": corpora(job),
        "src_vocab": vocabulary,
        "tgt_vocab": vocabulary,
        "share_vocab": True,
        "src_vocab_size": job["pieces"] + 4,
        "tgt_vocab_size": job["pieces"] + 4,
        "report_every": 1,
        "seed": job["seed"],
        "model": model(job),
        "training": {
            "model_path": str(Path(job["work"]) / "model"),
            "save_checkpoint_steps": NEVER,
            "valid_steps": NEVER,
            "train_steps": job["updates"] + 1,
            "batch_type": "tokens",
            "batch_size": job["batch"],
            "normalization": "tokens",
            "bucket_size": 8192,
            "num_workers": 0,
            "world_size": 1,
            "gpu_ranks": [],
            "optim": "adam",
            "adam_beta2": 0.98,
            "learning_rate": 0.0005,
            "label_smoothing": 0.1,
            "max_grad_norm": 1.0,
            "dropout": [0.3],
            "attention_dropout": [0.0],
        },
    }


def main() -> None:
    """Train and tell each update."""
    job = read_job()
    say_versions("eole", "torch")
    say(counts="cells of a batch (longest sentence × sentences) of like lengths", precision="fp32")
    path = Path(job["work"]) / "options.yaml"
    path.write_text(yaml.safe_dump(options(job)), encoding="utf-8")
    follow([str(Path(sys.executable).parent / "eole"), "train", "-config", str(path)])


if __name__ == "__main__":
    main()
