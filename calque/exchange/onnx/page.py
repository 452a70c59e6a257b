"""The page beside an export to ONNX, with a program that searches as calque does by onnxruntime and numpy alone."""

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
eos, search = config["special_ids"]["eos"], config["search"]


def run(session, inputs):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def divisor(length):
    """Return what the sum of log-probabilities of `length` tokens, </s> counted, is divided by."""
    base = (length + 5) / 6 if search["normalisation"] == "gnmt" else length
    return 1.0 if search["normalisation"] == "none" else base ** search["length_penalty"]


def best_places(scores, tokens, time, limit, prefix):
    """Return the best candidates, hypothesis * vocabulary + token, best first; `scores` [hypotheses, vocabulary]."""
    ends = scores[:, eos].copy()
    scores[:, config["never"]] = -np.inf
    if time < search["min_length"]:
        scores[:, eos] = -np.inf
    size = search["no_repeat_ngram"]
    for row, before in enumerate(tokens if size else ()):
        last = before[len(before) - size + 1 :]
        for start in range(len(before) - size + 1):
            if before[start : start + size - 1] == last:
                scores[row, before[start + size - 1]] = -np.inf
    if time < len(prefix):
        wanted = scores[:, prefix[time]].copy()
        scores[:] = -np.inf
        scores[:, prefix[time]] = wanted
    if time >= limit:
        scores[:] = -np.inf
        scores[:, eos] = ends
    return np.argsort(-scores, axis=None, kind="stable")[: 2 * search["beam"] if search["beam"] > 1 else 1]


def answer(source, prefix=()):
    """Return the ids of the best answer to one source, whose arrays have the names of the encoder's inputs."""
    found, beam = run(encoder, source), search["beam"]
    context = {{name: found[name] for name in config["context"]}}
    state = {{name: found[name] for name in config["state"]}}
    limit = int(source["mask"].sum() * search["max_length_ratio"]) + search["max_length_extra"]
    limit = max(limit, search["min_length"])
    tokens, sums, token, ended = [[]], np.zeros(1, np.float32), np.array([config["special_ids"]["bos"]]), []
    for time in range(limit + 1):
        found = run(step, {{"token": token, **state, **context}})
        scores = found["log_probs"] + sums[:, None]
        living = []
        for rank, place in enumerate(best_places(scores, tokens, time, limit, prefix)):
            parent, last = divmod(int(place), scores.shape[1])
            if last != eos and len(living) < beam:
                living.append((parent, last, scores[parent, last]))
            elif last == eos and rank < beam and scores[parent, eos] > -np.inf:
                ended.append((scores[parent, eos] / divisor(time + 1), tokens[parent]))
        ended = sorted(ended, key=lambda pair: -pair[0])[:beam]
        sums = np.array([total for _, _, total in living], np.float32)
        if time == limit or not living or sums[0] == -np.inf:
            break
        # Sums only fall: nothing that lives can become better than its sum over the largest divisor to come.
        if ended and sums[0] / max(divisor(time + 2), divisor(limit + 1)) <= ended[0][0]:
            break
        if len(ended) == beam and sums[0] / divisor(time + 2) <= ended[-1][0]:
            break
        parents = [parent for parent, _, _ in living]
        state = {{name: found["next_" + name][parents] for name in config["state"]}}
        tokens = [[*tokens[parent], last] for parent, last, _ in living]
        token = np.array([last for _, last, _ in living])
    return ended[0][1] if ended else []

'''

TEXT = """
sides = [config["text"][side] for side in ("source", "target")]
read, write = (sentencepiece.SentencePieceProcessor(model_file=str(folder / "text" / side)) for side in sides)
form = config["text"]["normalise"].upper()
for line in sys.stdin:
    text = line.rstrip("\\n") if form == "NONE" else unicodedata.normalize(form, line.rstrip("\\n"))
    # An empty line has an empty answer.
    if not text.strip():
        print()
        continue
    tokens = np.array([[*read.encode(text), eos]])
    found = answer({"tokens": tokens, "mask": tokens > 0})
    print(write.decode([number for number in found if number > eos]))
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
    print(json.dumps(answer(source, given.get("prefix", ()))))
"""

README = """# {name}: ONNX graphs

Written by calque from a trained model: {encoder} encoder, {decoder} decoder, {head} head. This program searches
as calque does, with the beam of the recipe, and needs {needs}; `python program.py FOLDER` {reads}:

```python
{program}```

- `encoder.onnx` takes {sources} and gives all that a step needs: what is fixed for a source (`context.…`) and the
  decoder's first state (`state.…`).
- `decoder_step.onnx` takes `token` [rows], the state and the context; it gives `log_probs` [rows, {target_size}{forms}]
  of what comes next, and the state after it (`next_state.…`), which the next step takes under its name without `next_`.
- `config.json` names inputs with their types and axes, and holds special ids and the limits of search.

Every named axis is free: any number of sentences, of any length, and any number of steps. Rows are sentences, or K
hypotheses of each sentence: row b · K + k of token and state reads the context of sentence b. After each step the
caller selects the rows of every state that belong to the hypotheses that survive. All rows of a call are at the same
step.

A source is {length}, its tokens closed by `</s>` (3), padded with 0; `mask` is true where a token is.{more}
"""

FRAMED = """ The text of a source
stands between the ids {before} and {after}, followed by `</s>`; each answer begins with the ids {target}, the
program's `prefix`, which do not stand for text."""
COPIES = """

`copy_ids` is for each token of the source the target's id that copying it gives, 0 for nothing to copy, and
{size} + i for the i-th form of that sentence that the target's vocabulary lacks; `forms` is true for as many columns as
the sentence has such forms. An id of {size} or more in an answer stands for that form."""
EDGES = """

`edges` holds positions from and to and the kind of each edge, 0 for none ({size} kinds; 1 joins a token to the next of
the same node)."""
SEGMENTS = """

`segment` tells which of {size} sources a token belongs to; `</s>` closes each."""


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
    """Return whether SentencePiece alone turns a line into ids, and ids into a line."""
    kinds = text.source.kind == text.target.kind == "sentencepiece"
    return kinds and text.inputs.is_one_text and text.frame.is_empty and text.layout.is_line and not text.copying
