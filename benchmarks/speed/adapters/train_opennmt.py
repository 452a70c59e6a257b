"""Train with OpenNMT-py's own command, and read the updates from its log."""

import re
import sys
from pathlib import Path
from typing import Any

import yaml
from common import Job, lines_of, read_job, say, say_versions

# "Step 3/10; …; bsz: 3486/3250/92; …": source and target tokens of the update, sentences.
UPDATE = re.compile(r"Step\s+(\d+)/.*bsz:\s*(\d+)/\s*(\d+)/")
NEVER = 1_000_000
TRANSFORMER = {
    "encoder_type": "transformer",
    "decoder_type": "transformer",
    "position_encoding": True,
    "layers": 4,
    "heads": 4,
    "hidden_size": 256,
    "word_vec_size": 256,
    "transformer_ff": 1024,
    "dropout": [0.3],
    "attention_dropout": [0.0],
}
LSTM = {
    "encoder_type": "brnn",
    "decoder_type": "rnn",
    "rnn_type": "LSTM",
    "layers": 2,
    "hidden_size": 512,
    "word_vec_size": 512,
    "global_attention": "general",
    "input_feed": 0,
    "dropout": [0.3],
}


def write_vocabulary(job: Job) -> Path:
    """Write the pieces one a line, after the specials that the library adds by itself."""
    pieces = (Path(job["data"]) / "pieces.txt").read_text(encoding="utf-8").splitlines()
    specials = ["<unk>", "<blank>", "<s>", "</s>"]
    path = Path(job["work"]) / "vocabulary.txt"
    names = [*specials, *(piece for piece in pieces if piece not in specials)]
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return path


def corpora(job: Job) -> dict[str, Any]:
    """Return where the pieces lie."""
    data = Path(job["data"])
    return {
        "train": {
            "path_src": str(data / "train.en"),
            "path_tgt": str(data / "train.de"),
            "transforms": [],
            "weight": 1,
        },
    }


def follow(command: list[str]) -> None:
    """Run a training and tell each update that its log reports."""
    for line in lines_of(command):
        found = UPDATE.search(line)
        if found:
            say(update=int(found[1]), tokens=int(found[3]))


def options(job: Job) -> dict[str, Any]:
    """Return the options of a training."""
    vocabulary = str(write_vocabulary(job))
    return {
        **(TRANSFORMER if job["architecture"] == "transformer" else LSTM),
        "data": corpora(job),
        "src_vocab": vocabulary,
        "tgt_vocab": vocabulary,
        "share_vocab": True,
        "share_embeddings": True,
        "share_decoder_embeddings": True,
        "src_vocab_size": job["pieces"] + 4,
        "tgt_vocab_size": job["pieces"] + 4,
        "save_model": str(Path(job["work"]) / "model"),
        "save_checkpoint_steps": NEVER,
        "train_steps": job["updates"] + 1,
        "valid_steps": NEVER,
        "report_every": 1,
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
        "param_init_glorot": True,
        "seed": job["seed"],
    }


def main() -> None:
    """Train and tell each update."""
    job = read_job()
    say_versions("OpenNMT-py", "torch")
    say(counts="cells of a batch (longest sentence × sentences) of like lengths", precision="fp32")
    path = Path(job["work"]) / "options.yaml"
    path.write_text(yaml.safe_dump(options(job)), encoding="utf-8")
    follow([str(Path(sys.executable).parent / "onmt_train"), "-config", str(path)])


if __name__ == "__main__":
    main()
