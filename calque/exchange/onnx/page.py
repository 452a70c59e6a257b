"""The page of an ONNX export, with a program that searches like calque and needs only onnxruntime and numpy."""

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
    """Return the divisor of a sum of log-probabilities of `length` tokens with </s>."""
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
        # Sums only fall: a living hypothesis cannot become better than its sum over the largest later divisor.
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
like calque, with the beam of the recipe, and needs {needs}; `python program.py FOLDER` {reads}:

```python
{program}```

- `encoder.onnx` has the inputs {sources}. Its outputs are the context, which is fixed for a source (`context.…`), and
  the decoder's first state (`state.…`).
- `decoder_step.onnx` has the inputs `token` [rows], state and context. Its outputs are `log_probs`
  [rows, {target_size}{forms}] of the next token, and the next state (`next_state.…`), which is the input of the next
  step under its name without `next_`.
- `config.json` describes the inputs with their types and axes, and contains special ids and the settings of search.

Every named axis is free: any number of sentences, of any length, and any number of steps. Rows are sentences, or K
hypotheses of each sentence: row b · K + k of token and state reads the context of sentence b. After each step the
caller selects the rows of every state that belong to the hypotheses that survive. All rows of a call are at the same
step.

A source is {length}, its tokens followed by `</s>` (3) and padded with 0; `mask` is true for tokens.{more}
"""

FRAMED = """ The text of a source
is between the ids {before} and {after}, followed by `</s>`; each answer begins with the ids {target}, the program's
`prefix`, which are not text."""
COPIES = """

`copy_ids` contains, for each source token, the target id of its copy, 0 if it cannot be copied, and {size} + i for the
i-th form of that sentence that is not in the target vocabulary; `forms` is true for as many columns as the sentence has
such forms. An id of {size} or more in an answer is such a form."""
EDGES = """

`edges` contains the two positions and the kind of each edge, 0 for none ({size} kinds; kind 1 joins a token to the next
token of its node)."""
SEGMENTS = """

`segment` is the number of each token's source, of {size} sources; `</s>` ends each of them."""


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
        else f"answers lines of ids, such as `{example}`, with ids; `text/` contains the tokenizers",
        program=program(plain),
        sources=", ".join(f"`{each}`" for each in inputs),
        target_size=size,
        forms=" + forms" if "forms" in inputs else "",
        length=f"read as a whole here, while calque answers a source of more than {predictor.max_length} ids in parts",
        more=more,
    )


def program(plain: bool) -> str:
    """Return the program: from text to text if `plain`, else from ids to ids."""
    if plain:
        return START.format(imports="import unicodedata\n", library="import sentencepiece\n") + TEXT
    return START.format(imports="", library="") + IDS


def takes_text(text: TextPair) -> bool:
    """Return whether SentencePiece alone converts a line to ids, and ids to a line."""
    kinds = text.source.kind == text.target.kind == "sentencepiece"
    return kinds and text.inputs.is_one_text and text.frame.is_empty and text.layout.is_line and not text.copying
