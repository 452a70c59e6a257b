"""Export of a model folder to CTranslate2, with its tokenizers and a page with a program that uses it.

The export is compared with the model, on sentences of its own, before the folder gets its name.
"""

from pathlib import Path

from calque.engines.ctranslate2.folder import load
from calque.engines.ctranslate2.spec import LIBRARY, PLACES, demands, library, max_source, write_model
from calque.exchange.ctranslate2.check import check, sentences
from calque.exchange.ctranslate2.names import CUTTING, Cutting, token_names
from calque.exchange.limits import require
from calque.exchange.out_folder import new_folder, require_new
from calque.folder.recipe_file import read_sections
from calque.model import ModelConfig
from calque.predict import predictor as opening
from calque.predict.predictor import Predictor
from calque.system.files import write_atomic
from calque.text.pair import TextPair
from calque.text.tokenizers.tokenizer import write_files

README = """# {name} for CTranslate2

Written by calque from a trained model. CTranslate2 loads this folder, in fp32 or quantised (`compute_type="int8"`).
The tokenizers are in `text/`. This program translates lines from a pipe:

```python
import sys
{unicode}
import ctranslate2
{imports}
folder = sys.argv[1]
translator = ctranslate2.Translator(folder, device="cpu", compute_type=(sys.argv[2:] or ["float32"])[0])
{load}sources = []
for line in sys.stdin.read().splitlines():
{normalise}    sources.append([{before}*{cut}, {after}"</s>"])
results = translator.translate_batch(
    sources,{prefix}
    beam_size={beam},
    patience=2,
    length_penalty={length_penalty},
    no_repeat_ngram_size={no_repeat_ngram},
    min_decoding_length={min_length},
    max_decoding_length=int({ratio} * max(map(len, sources), default=0)) + {extra},
    max_input_length=0,
    return_end_token=True,
)
for result in results:
    tokens = [token for token in result.hypotheses[0] if token not in {dropped}]
    print({join})
```

- A source consists of its tokens followed by `</s>`, at most {longest} in all; calque itself answers a source of more
  than {max_length} in parts. The vocabularies have {source_size} and {target_size} tokens.
- calque's beam search stops by another rule than that of CTranslate2, so a few outputs differ.{notes}
"""

TAGGED = """
- The answer begins with one of these tokens: {tags}. Pass it as `target_prefix`, a list for each source."""
MANY = """
- A source of this model has several texts: a tag before it is one of {tags}, and `</s>` separates several sources."""
UNCUT = """
- Pass each line as tokens with spaces between them: byte pairs need another library, `tokenizers`."""


def export_ctranslate2(folder: Path, out: Path) -> None:
    """Write the Transformer in `folder` to the new folder `out` in CTranslate2's format, with its tokenizers.

    Raises UsageError if CTranslate2 is not installed, for a part that it does not support, and if `out` exists;
    CalqueError, without a folder, if its results differ from those of the model.
    """
    require_new(out)
    predictor = opening.load(folder, device="cpu")
    config = ModelConfig.model_validate(read_sections(folder)["model"])
    require_expressible(config)
    library()
    text, model = predictor.text, predictor.model
    names = token_names(text.source), token_names(text.target)
    with new_folder(out, sum(value.nbytes for value in model.parameters())) as temporary:
        write_model(temporary, config, model.state_dict(), names)
        check(load(temporary, model, config, names), predictor, sentences(folder, predictor))
        write_files(temporary / "text", text.files())
        write_atomic(temporary / "README.md", _page(out.absolute().name, config, predictor, names))


def require_expressible(config: ModelConfig) -> None:
    """Raise UsageError naming a field of the recipe that CTranslate2 does not support."""
    for field, value, known in demands(config):
        require(field, value, known, LIBRARY)


def _page(name: str, config: ModelConfig, predictor: Predictor, names: tuple[list[str], list[str]]) -> str:
    """Return the README.md."""
    text, options = predictor.text, predictor.options
    source, target = CUTTING[text.source.kind], CUTTING[text.target.kind]
    form = {"none": "", "nfc": "NFC", "nfkc": "NFKC"}[text.normalisation]
    forced = [names[1][number] for number in text.frame.target]
    alpha = options.length_penalty if options.normalisation == "average" else 0.0
    notes = _notes(text)
    return README.format(
        name=name,
        unicode="import unicodedata\n" if form else "",
        imports=source.imports or target.imports,
        load=_loading(text, source, target),
        normalise=f'    line = unicodedata.normalize("{form}", line)\n' if form else "",
        before="".join(f"{names[0][number]!r}, " for number in text.frame.before),
        after="".join(f"{names[0][number]!r}, " for number in text.frame.after),
        cut=source.cut,
        join=target.join,
        prefix=f"\n    target_prefix=[{forced!r}] * len(sources)," if forced else "",
        beam=options.beam,
        length_penalty=alpha,
        no_repeat_ngram=options.no_repeat_ngram,
        min_length=options.min_length,
        ratio=options.max_length_ratio,
        extra=options.max_length_extra + 1,
        dropped=("<pad>", "<s>", "</s>", *forced),
        longest=min(PLACES, max_source(config) or PLACES),
        max_length=predictor.max_length,
        source_size=len(names[0]),
        target_size=len(names[1]),
        notes=notes,
    )


def _loading(text: TextPair, source: Cutting, target: Cutting) -> str:
    """Return the lines that read the tokenizers."""
    if text.joint:
        return source.load.format(side="source = target", name="joint")
    return source.load.format(side="source", name="source") + target.load.format(side="target", name="target")


def _notes(text: TextPair) -> str:
    """Return the notes about steps that the program does not do itself."""
    tags = [f"`[{tag}]`" for tag in text.inputs.tags] or ["none"]
    notes = ""
    if text.inputs.tag and text.inputs.tag_side == "target":
        notes += TAGGED.format(tags=", ".join(tags))
    elif not text.inputs.is_one_text:
        notes += MANY.format(tags=", ".join(tags))
    return notes + UNCUT if "imported_byte_pair" in (text.source.kind, text.target.kind) else notes
