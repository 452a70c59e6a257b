"""A model folder as a TensorFlow SavedModel with greedy search inside, which TensorFlow alone loads and runs.

Beside it lie the files of its tokenizers and a page with the program that asks it.
"""

from pathlib import Path

from calque.errors import UsageError
from calque.exchange.out_folder import new_folder, require_new
from calque.exchange.tensorflow.basics import library, tf
from calque.exchange.tensorflow.model import build_module, require_expressible
from calque.folder.recipe_file import read_sections
from calque.model import ModelConfig
from calque.predict import predictor as opening
from calque.predict.predictor import Predictor
from calque.system.files import write_atomic
from calque.text.pair import TextPair
from calque.text.tokenizers.tokenizer import write_files

README = """# {name}: a TensorFlow SavedModel

Written by calque from a trained model: {encoder} encoder, {decoder} decoder, greedy search inside. TensorFlow alone
loads and runs it:

```python
import json
import sys

import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
with open(sys.argv[2]) as file:
    sources = [[*ids, 3] for ids in json.load(file)]
longest = max(map(len, sources))
rows = tf.constant([ids + [0] * (longest - len(ids)) for ids in sources], tf.int32)
found = model.generate(rows, tf.constant(0))
answers = zip(found["ids"].numpy().tolist(), found["lengths"].numpy().tolist(), strict=True)
print(json.dumps([ids[:length] for ids, length in answers]))
```

Its arguments are this folder and a file of source ids, a JSON list of lists such as `[[17, 5], [9]]`. It prints the ids
of the answers. The tokenizers are in `text/`; `.model` files are those of SentencePiece.

- `generate(source_ids, max_length)` returns `ids` [B, T], `lengths` [B], `scores` [B], which rank outputs, and plain
  `log_probs` [B].
- `log_probs(source_ids, inputs)` returns `log_probs` [B, T, {target_size}] of the token after each of the target
  `inputs` [B, T] int32, which begin with `<s>`.
- `weights` contains every variable by its name in calque.

`source_ids` [B, S] int32: ids below {source_size}, each row followed by `</s>` (3) and padded with 0; any number of
rows of any length. calque answers a source of more than {max_length} ids in parts, the SavedModel as a whole.
`max_length` int32: the maximum number of tokens of an answer; 0 uses the limit of the recipe ({ratio} for each source
id and {extra} more), which always applies. Special ids: `<pad>` 0, `<unk>` 1, `<s>` 2, `</s>` 3.{frame}
"""

FRAME = """

The text of a source is between the ids {before} and {after}, followed by `</s>`; each answer begins with the ids
{target}, which are not text."""


def export_tensorflow(folder: Path, out: Path) -> None:
    """Write the model in `folder` as a SavedModel to the new folder `out`, with its tokenizers and a README.md.

    Raises UsageError if TensorFlow is not installed, for a part that is not supported, and if `out` exists.
    """
    require_new(out)
    predictor = opening.load(folder, device="cpu")
    config = ModelConfig.model_validate(read_sections(folder)["model"])
    require_expressible(config)
    require_plain_lines(predictor.text)
    library()
    module = build_module(config, predictor.model, predictor.options, predictor.text.frame.target)
    with new_folder(out, sum(value.nbytes for value in predictor.model.parameters())) as temporary:
        signatures = {"serving_default": module.generate, "generate": module.generate, "log_probs": module.log_probs}
        tf.saved_model.save(module, str(temporary), signatures=signatures)
        write_files(temporary / "text", predictor.text.files())
        write_atomic(temporary / "README.md", _page(out.absolute().name, config, predictor))


def require_plain_lines(text: TextPair) -> None:
    """Raise UsageError if answers must begin with a tag, which the search in the SavedModel does not support."""
    if text.inputs.tag and text.inputs.tag_side == "target":
        raise UsageError(
            "text.tag_side is target, so every answer begins with a tag, which export to TensorFlow does not support;"
            " it supports tags before the source. Train a model with text.tag_side = source to export it"
        )


def _page(name: str, config: ModelConfig, predictor: Predictor) -> str:
    """Return the README.md."""
    frame = predictor.text.frame
    framed = FRAME.format(before=list(frame.before), after=list(frame.after), target=list(frame.target))
    return README.format(
        name=name,
        encoder=config.encoder.kind,
        decoder=config.decoder.kind,
        source_size=predictor.text.source.vocab_size,
        target_size=predictor.text.target.vocab_size,
        max_length=predictor.max_length,
        ratio=predictor.options.max_length_ratio,
        extra=predictor.options.max_length_extra,
        frame="" if frame.is_empty else framed,
    )
