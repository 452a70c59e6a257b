"""Train with Marian's own command until a validation passes, then translate the test set with it."""

import re
import subprocess
import sys
from pathlib import Path

from common import read_job, say
from train_marian import command, write_vocabulary

VALID = re.compile(r"Up\. ([\d,]+) : translation : ([\d.]+)")
NAME = "pymarian"


def join(line: str) -> str:
    """Return the text of pieces."""
    return "".join(line.split()).replace("▁", " ").strip()


def write_scorer(work: Path, reference: str) -> Path:
    """Write the program that Marian calls with its translations and that prints their BLEU."""
    path = work / "score.sh"
    here = Path(__file__).resolve()
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{here}" --score "$1" "{reference}"\n', encoding="utf-8")
    path.chmod(0o755)
    return path


def score(translations: Path, reference: Path) -> float:
    """Return the BLEU of translations in pieces."""
    import sacrebleu

    answers = [join(line) for line in translations.read_text(encoding="utf-8").splitlines()]
    return sacrebleu.corpus_bleu(answers, [reference.read_text(encoding="utf-8").splitlines()]).score


def main() -> None:
    """Train, tell each validation, translate."""
    job = read_job()
    data, work = Path(job["data"]), Path(job["work"])
    every = f"{job['every']}u"
    valid = ["--valid-sets", str(data / "val.en"), str(data / "val.de"), "--valid-metrics", "translation"]
    valid += ["--valid-freq", every, "--valid-translation-output", str(work / "valid.txt"), "--beam-size", "1"]
    valid += ["--valid-script-path", str(write_scorer(work, job["val_de"])), "--keep-best", "--overwrite"]
    # It has no schedule that ends: the square root's is the one that its documents name for a Transformer.
    valid += ["--lr-warmup", "400u", "--lr-decay-inv-sqrt", "400u", "--valid-mini-batch", "64"]
    train = [*command(job), *valid]
    train[train.index("--learn-rate") + 1] = str(job["lr"])
    with subprocess.Popen(train, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stderr.write(line)
            found = VALID.search(line)
            if found:
                dev = float(found[2])
                say(update=int(found[1].replace(",", "")), dev=dev)
                if dev >= job["target"]:
                    break
        process.kill()
    vocabulary = str(write_vocabulary(job))
    decode = [str(Path(sys.executable).parent / NAME), "decode", "--vocabs", vocabulary, vocabulary]
    decode += ["--models", str(work / "model.npz.best-translation.npz"), "--input", str(data / "test.en")]
    decode += ["--output", str(work / "test.pieces"), "--cpu-threads", str(job["workers"] * job["threads"])]
    decode += ["--beam-size", "5", "--normalize", "1", "--mini-batch", "64", "--maxi-batch", "100"]
    subprocess.run([*decode, "--maxi-batch-sort", "src"], check=True, stdout=sys.stderr)
    lines = (work / "test.pieces").read_text(encoding="utf-8").splitlines()
    Path(job["answers"]).write_text("".join(f"{join(line)}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--score":
        print(score(Path(sys.argv[2]), Path(sys.argv[3])))
    else:
        main()
