"""Score answers to WebNLG graphs as published: BLEU with all references, lower-cased and tokenised.

    python benchmarks/webnlg_score.py RUN TEST.jsonl

Words and marks are parted as the challenge's own program does; `calque eval RUN TEST.jsonl` scores the text as it is.
"""

import re
import sys

from calque import load
from calque.cli.common import use_threads
from calque.data.files.readers import Columns, open_dataset
from calque.data.survey import EVERYTHING, development_sample
from calque.metrics.bootstrap import bootstrap
from calque.metrics.translation import bleu

TOKEN = re.compile(r"\w+|[^\w\s]")


def main(run: str, test: str) -> None:
    """Print BLEU with its 95 % interval."""
    use_threads(1)
    examples = development_sample(open_dataset([test], Columns()), EVERYTHING)
    answers = load(run).best([example.source for example in examples])
    references = [[tokens(text) for text in example.targets] for example in examples]
    score = bootstrap(bleu("none"), [tokens(answer) for answer in answers], references)
    print(f"BLEU {score.value:.2f}   95 %: {score.low:.2f} to {score.high:.2f}   {score.signature}")


def tokens(text: str) -> str:
    """Return a text in lower case, its words and marks parted by blanks."""
    return " ".join(TOKEN.findall(text.lower()))


if __name__ == "__main__":
    main(*sys.argv[1:])
