"""The page beside an export to ONNX, with a program that searches greedily by onnxruntime and numpy alone."""

from calque.predict.predictor import Predictor
from calque.text.pair import TextPair

START = '''import json
import sys
{imports}from pathlib import Path

import numpy as np
import onnxruntime
{library}
folder = Path(sys.argv[1])
config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
encoder, step = (
    onnxruntime.InferenceSession(str(folder / config[graph]["file"]), providers=["CPUExecutionProvider"])
    for graph in ("encoder", "decoder_step")
)
eos = config["special_ids"]["eos"]


def run(session, inputs):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def greedy(source, prefix=()):
    """Return the ids of the answer to each row of a source, arrays by the names of the encoder's inputs."""
    found, search = run(encoder, source), config["search"]
    context = {{name: found[name] for name in config["context"]}}
    state = {{name: found[name] for name in config["state"]}}
    lengths = source["mask"].sum(axis=1)
    limits = (lengths * search["max_length_ratio"]).astype(np.int64) + search["max_length_extra"]
    limits = np.maximum(limits, search["min_length"])
    token = np.full(len(lengths), config["special_ids"]["bos"])
    ended, answers = np.zeros(len(lengths), bool), [[] for _ in lengths]
    for time in range(limits.max() + 1):
        found = run(step, {{"token": token, **state, **context}})
        state = {{name: found["next_" + name] for name in config["state"]}}
        scores = found["log_probs"]
        scores[:, config["never"]] = -np.inf
        if time < search["min_length"]:
            scores[:, eos] = -np.inf
        token = scores.argmax(axis=1)
        if time < len(prefix):
            token[:] = prefix[time]
        token[limits <= time] = eos
        ended |= token == eos
        if ended.all():
            break
        for row in np.flatnonzero(~ended):
            answers[row].append(int(token[row]))
    return answers

'''

TEXT = """
sides = [config["text"][side] for side in ("source", "target")]
read, write = (sentencepiece.SentencePieceProcessor(model_file=str(folder / "text" / side)) for side in sides)
lines, form = [line.rstrip("\\n") for line in sys.stdin], config["text"]["normalise"].upper()
texts = lines if form == "NONE" else [unicodedata.normalize(form, line) for line in lines]
ids = [[*read.encode(text), eos] for text in texts]
tokens = np.zeros([len(ids), max(map(len, ids))], np.int64)
for row, numbers in enumerate(ids):
    tokens[row, : len(numbers)] = numbers
for answer in greedy({"tokens": tokens, "mask": tokens > 0}):
    print(write.decode([number for number in answer if number > eos]))
"""

IDS = """
for line in sys.stdin:
    given = json.loads(line)
    tokens = np.array([[*given["tokens"], eos]])
    source = {"tokens": tokens, "mask": tokens > 0}
    if "copy_ids" in given:
        source["copy_ids"] = np.array([[*given["copy_ids"], 0]])
        source["forms"] = np.ones([1, max(0, max(given["copy_ids"]) + 1 - config["vocab_sizes"]["target"])], bool)
    if "segment" in given:
        source["segment"] = np.array([[*given["segment"], given["segment"][-1]]])
    if "edges" in given:
        source["edges"] = np.array(given["edges"], np.int64).reshape(1, len(given["edges"]), 3)
    print(json.dumps(greedy(source, given.get("prefix", ()))[0]))
"""

README = """# {name}: ONNX graphs

Written by calque from a trained model: {encoder} encoder, {decoder} decoder, {head} head. This program searches
greedily with {needs}; `python program.py FOLDER` {reads}:

```python
{program}```

- `encoder.onnx` takes {sources} and gives all that a step needs: what is fixed for a source (`context.…`) and the
  decoder's first state (`state.…`).
- `decoder_step.onnx` takes `token` [rows], the state and the context; it gives `log_probs` [rows, {target_size}{forms}]
  of what comes next, and the state after it (`next_state.…`), which the next step takes under its name without `next_`.
- `config.json` names inputs with their types and axes, and holds special ids and the limits of search.

Every axis that is named there is free: any number of sentences, of any length, any number of steps. Rows are sentences,
or K hypotheses of each: row b · K + k of token and state reads the context of sentence b, and where hypotheses are
chosen anew it is the caller who takes those rows of every state. All rows of a call are at the same step.

A source is {length}, its tokens closed by `</s>` (3), padded with 0; `mask` is true where a token is.{more}
"""

FRAMED = """ The text of a source
stands between the ids {before} and {after}, with `</s>` behind them; each answer begins with the ids {target}, the
program's `prefix`, which stand for no text."""
COPIES = """

`copy_ids` is for each token of the source the target's id that copying it gives, 0 for nothing to copy, and
{size} + i for the i-th form of that sentence that the target's vocabulary lacks; `forms` is true for as many columns as
the sentence has such forms. An id of {size} or more in an answer stands for that form."""
EDGES = """

`edges` holds positions from and to and the kind of each edge, 0 for none ({size} kinds; 1 joins a token to the next of
the same node)."""
SEGMENTS = """

`segment` tells which of {size} sources a token belongs to; `</s>` closes each."""
REPEATS = """

The recipe's search.no_repeat_ngram = {size} is not followed by this program: it may repeat itself where calque does
not."""


def page(name: str, predictor: Predictor, kinds: dict[str, str], inputs: list[str]) -> str:
    """Return the README.md of a folder named `name`; `kinds` are those of the model's parts."""
    text, model = predictor.text, predictor.model
    plain, size = takes_text(text), text.target.vocab_size
    more = ""
    if not text.frame.is_empty:
        frame = text.frame
        more += FRAMED.format(before=list(frame.before), after=list(frame.after), target=list(frame.target))
    if "copy_ids" in inputs:
        more += COPIES.format(size=size)
    if "edges" in inputs:
        more += EDGES.format(size=model.encoder.edge_kinds)
    if "segment" in inputs:
        more += SEGMENTS.format(size=len(text.inputs.sources))
    if predictor.options.no_repeat_ngram:
        more += REPEATS.format(size=predictor.options.no_repeat_ngram)
    extras = [f'"{each}": […]' for each in inputs if each not in ("tokens", "mask", "forms")]
    example = ", ".join(['{"tokens": [17, 5]', *extras]) + "}"
    return README.format(
        name=name,
        **kinds,
        needs="onnxruntime, sentencepiece and numpy" if plain else "onnxruntime and numpy",
        reads="answers lines of text"
        if plain
        else f"answers lines of ids, such as `{example}`, with ids; `text/` holds what turns text into ids and back",
        program=program(plain),
        sources=", ".join(f"`{each}`" for each in inputs),
        target_size=size,
        forms=" + forms" if "forms" in inputs else "",
        length=f"whole here, while calque answers one of more than {predictor.max_length} ids in parts",
        more=more,
    )


def program(plain: bool) -> str:
    """Return the program: from text to text where `plain`, else from ids to ids."""
    if plain:
        return START.format(imports="import unicodedata\n", library="import sentencepiece\n") + TEXT
    return START.format(imports="", library="") + IDS


def takes_text(text: TextPair) -> bool:
    """Say whether SentencePiece alone turns a line into ids, and ids into a line."""
    kinds = text.source.kind == text.target.kind == "sentencepiece"
    return kinds and text.inputs.is_one_text and text.frame.is_empty and text.layout.is_line and not text.copying
