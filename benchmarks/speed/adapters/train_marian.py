"""Train with Marian's own command, and read the updates from its log."""

import json
import re
import sys
from pathlib import Path

from common import SIZES, Job, lines_of, read_job, say, say_versions

# "Ep. 1 : Up. 3 : Sen. 612 : Cost 9.1 * 8,192 @ 4,096 after 12,288 : …": labels since the last line, of the last batch,
# and all.
UPDATE = re.compile(r"Up\. ([\d,]+) :.*\* ([\d,]+)(?: @ [\d,]+)? after ([\d,]+)")
TRANSFORMER = {
    "type": "transformer",
    "transformer-preprocess": "n",
    "transformer-postprocess": "da",
    "transformer-postprocess-top": "n",
    "transformer-ffn-activation": "relu",
    "tied-embeddings-all": True,
}
# 512 in both directions is what it makes of `bidirectional`; 256 gives each direction what calque's have.
LSTM = {
    "type": "s2s",
    "dim-emb": 512,
    "dim-rnn": 512,
    "enc-type": "alternating",
    "enc-cell": "lstm",
    "dec-cell": "lstm",
    "enc-depth": 2,
    "dec-depth": 2,
    "dropout-rnn": 0.3,
    "dropout-src": 0.3,
    "dropout-trg": 0.3,
    "tied-embeddings-all": True,
}


def transformer(job: Job) -> dict[str, object]:
    """Return the options of a Transformer of the job's size."""
    width, inner, heads = SIZES[job.get("size", "small")]
    encoder, decoder = job.get("layers", (4, 4))
    extent = {
        "enc-depth": encoder,
        "dec-depth": decoder,
        "dim-emb": width,
        "transformer-dim-ffn": inner,
        "transformer-heads": heads,
    }
    return {**TRANSFORMER, **extent, "transformer-dropout": job.get("dropout", 0.3)}


def write_vocabulary(job: Job) -> Path:
    """Write the pieces as Marian reads them, after its two own."""
    pieces = (Path(job["data"]) / "pieces.txt").read_text(encoding="utf-8").splitlines()
    names = ["</s>", "<unk>", *(piece for piece in pieces if piece not in ("</s>", "<unk>"))]
    path = Path(job["work"]) / "vocabulary.yml"
    lines = "".join(f"{json.dumps(name, ensure_ascii=False)}: {number}\n" for number, name in enumerate(names))
    path.write_text(lines, encoding="utf-8")
    return path


def command(job: Job) -> list[str]:
    """Return the command line; each of its threads works on a batch of its own, so each takes a share."""
    data, vocabulary = Path(job["data"]), str(write_vocabulary(job))
    options: dict[str, object] = {
        **(transformer(job) if job["architecture"] == "transformer" else LSTM),
        "model": str(Path(job["work"]) / "model.npz"),
        "cpu-threads": job["workers"],
        "workspace": 2000,
        "mini-batch": 2000,
        "mini-batch-words": job["batch"] // job["workers"],
        "maxi-batch": 100,
        "sync-sgd": True,
        "cost-type": "ce-sum",
        "label-smoothing": 0.1,
        "optimizer": "adam",
        "learn-rate": 0.0005,
        "clip-norm": 0,
        "max-length": 200,
        "disp-freq": "1u",
        "save-freq": "1000000u",
        "after-batches": job["updates"],
        "seed": job["seed"],
    }
    written = [
        part for name, value in options.items() for part in (f"--{name}", *([] if value is True else [str(value)]))
    ]
    pairs = ["--train-sets", str(data / "train.en"), str(data / "train.de"), "--vocabs", vocabulary, vocabulary]
    return [str(Path(sys.executable).parent / "pymarian"), *pairs, *written]


def main() -> None:
    """Train and tell each update."""
    job = read_job()
    say_versions("pymarian")
    say(counts="target words of a batch with </s>, its workers' batches together", precision="fp32")
    before = 0
    for line in lines_of(command(job)):
        found = UPDATE.search(line)
        if found:
            number, _, total = (int(group.replace(",", "")) for group in found.groups())
            say(update=number, tokens=total - before)
            before = total


if __name__ == "__main__":
    main()
