"""Export of a model folder to two ONNX graphs, the encoder and a decoder step, for any ONNX runtime.

The folder also contains the tokenizers, a description of inputs and outputs, and a page with a program that searches.
"""

import json
from pathlib import Path
from typing import Any

from calque.exchange.onnx.check import require_equal
from calque.exchange.onnx.graphs import ENCODER, STEP, Graphs, Ports, write_graphs
from calque.exchange.onnx.library import require_libraries
from calque.exchange.onnx.page import page, takes_text
from calque.exchange.onnx.parts import require_expressible
from calque.exchange.out_folder import new_folder, require_new
from calque.folder.recipe_file import read_sections
from calque.ids import BOS, EOS, PAD, UNK
from calque.model import ModelConfig
from calque.predict import predictor as opening
from calque.predict.predictor import Predictor
from calque.system.files import write_atomic
from calque.text.tokenizers.tokenizer import write_files


def export_onnx(folder: Path, out: Path) -> None:
    """Write the model in `folder` to the new folder `out`: two graphs, config.json, README.md and text/.

    ONNX Runtime's results are compared with the model before the folder gets its name. Raises UsageError if a library
    is missing, for a part that ONNX cannot express, and if `out` exists.
    """
    require_new(out)
    predictor = opening.load(folder, device="cpu")
    config = ModelConfig.model_validate(read_sections(folder)["model"])
    require_expressible(config)
    require_libraries()
    kinds = {part: getattr(config, part).kind for part in ("encoder", "decoder", "head")}
    # Both graphs contain the weights that their parts share.
    with new_folder(out, 2 * sum(value.nbytes for value in predictor.model.parameters())) as temporary:
        graphs = write_graphs(predictor.model, temporary)
        require_equal(predictor.model, temporary)
        write_files(temporary / "text", predictor.text.files())
        description = json.dumps(_describe(predictor, graphs, kinds), indent=2)
        write_atomic(temporary / "config.json", description + "\n")
        write_atomic(temporary / "README.md", page(out.absolute().name, predictor, kinds, list(graphs.source)))


def _describe(predictor: Predictor, graphs: Graphs, kinds: dict[str, str]) -> dict[str, Any]:
    """Return the content of config.json."""
    text, options = predictor.text, predictor.options
    state, context = list(graphs.state), list(graphs.context)
    token = {"token": {"type": "int64", "shape": ["rows"]}}
    search = ("max_length_ratio", "max_length_extra", "min_length", "no_repeat_ngram", "unknown")
    sides = {side: "joint.model" if text.joint else f"{side}.model" for side in ("source", "target")}
    return {
        "format": 1,
        "parts": kinds,
        "encoder": {"file": ENCODER, "inputs": _listed(graphs.source), "outputs": [*context, *state]},
        "decoder_step": {
            "file": STEP,
            "inputs": token | _listed(graphs.state) | _listed(graphs.context),
            "outputs": ["log_probs", *(f"next_{name}" for name in state)],
        },
        "state": state,
        "context": context,
        "special_ids": {"pad": PAD, "unk": UNK, "bos": BOS, "eos": EOS},
        "never": [PAD, BOS] if options.unknown else [PAD, BOS, UNK],
        "vocab_sizes": {"source": text.source.vocab_size, "target": text.target.vocab_size},
        "max_source_length": predictor.max_length,
        "search": {name: getattr(options, name) for name in search}
        | {name: getattr(options, name) for name in ("beam", "length_penalty", "normalisation")},
        "text": {
            "normalise": text.normalisation,
            **(sides if takes_text(text) else {}),
            **({} if text.frame.is_empty else {"frame": text.frame.model_dump()}),
        },
    }


def _listed(ports: Ports) -> dict[str, Any]:
    return {name: {"type": port.type, "shape": list(port.shape)} for name, port in ports.items()}
