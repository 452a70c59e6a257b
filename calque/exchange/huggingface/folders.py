"""Convert a Hugging Face folder to a model folder, and back if one of their classes computes the same.

The classes are Marian (OPUS-MT), Pegasus, BART, mBART, T5 and M2M-100, with their tokenizers.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from calque.data.files.readers import DataConfig
from calque.errors import UsageError
from calque.exchange.huggingface.config import SpecialIds, huggingface_config, model_config
from calque.exchange.huggingface.files import SAFE, read_weights
from calque.exchange.huggingface.text import ImportedText, read_text
from calque.exchange.huggingface.text_files import read_json, read_settings
from calque.exchange.huggingface.text_write import write_text, written_ids
from calque.exchange.huggingface.weights import fit_tables, to_calque, to_huggingface
from calque.exchange.out_folder import new_folder, require_new, write_model_folder
from calque.folder.recipe_file import read_sections
from calque.folder.weights import save_weights
from calque.model import ModelConfig
from calque.predict.predictor import Predictor, load
from calque.search.options import SearchConfig
from calque.system.files import write_atomic
from calque.tasks.kinds import TaskConfig
from calque.text.tokenizers.subword import SentencePieceTokenizer

Languages = tuple[str, str]
# Longest source of a model whose config does not contain it.
USUAL_LENGTH = 512
# Names of the longest source in the configs of the classes.
LENGTHS = ("max_position_embeddings", "n_positions")
MAX_CONFIG_BYTES = 2**20

README = """# {name} for Hugging Face's transformers

Written by calque from a trained model; `{architecture}`, {parameters:,} parameters.

```python
from transformers import {architecture}, {tokenizer}

tokenizer, model = {tokenizer}.from_pretrained("{name}"), {architecture}.from_pretrained("{name}")
answers = model.generate(**tokenizer(["…"], return_tensors="pt", padding=True))
print(tokenizer.batch_decode(answers, skip_special_tokens=True))
```
"""


def import_huggingface(folder: Path, out: Path, languages: Languages | None, report: Callable[[str], None]) -> None:
    """Convert a local Hugging Face folder to a model folder `out`; a model of many languages needs `languages`.

    Raises UsageError that names the file or the option of its config that calque cannot convert.
    """
    require_new(out)
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} has no config.json, so it is not the folder of a Hugging Face model")
    config = read_json(folder / "config.json", MAX_CONFIG_BYTES)
    model = model_config(config)
    text = read_text(folder, _tokenized_as(folder, config), languages)
    weights = read_weights(folder)
    model = fit_tables(model, weights, config, text.source_ids, text.target_ids)
    state = to_calque(weights, config, model, text.source_ids, text.target_ids)
    write_model_folder(out, _sections(folder, config, model, text, languages), state, text.text)
    kinds = f"{model.encoder.kind} → {model.decoder.kind}"
    size = sum(value.numel() for name, value in state.items())
    report(f"{config['model_type']}: {kinds}, {size:,} parameters, {len(text.target_ids):,} target tokens")


def export_huggingface(folder: Path, out: Path) -> str:
    """Write a model folder as a folder that transformers reads; return the class that reads it.

    Raises UsageError that names a field of the recipe, or a tokenizer, that no class has.
    """
    require_new(out)
    predictor = load(folder, device="cpu")
    sections = read_sections(folder)
    model = ModelConfig.model_validate(sections["model"])
    state = {name: value.detach() for name, value in predictor.model.named_parameters()}
    with new_folder(out, sum(value.nbytes for value in state.values())) as temporary:
        about = write_text(predictor.text, temporary)
        specials = SpecialIds(about["pad_token_id"], about["decoder_start_token_id"], about["eos_token_id"])
        sizes = about["vocab_size"], about["decoder_vocab_size"]
        config = huggingface_config(model, *sizes, specials, max(1024, predictor.max_length)) | _known(about)
        _require_one_table(predictor, config)
        weights = to_huggingface(state, model, config, *written_ids(predictor.text))
        save_weights(temporary / SAFE, _once(weights), {"format": "pt"})
        _write_json(temporary / "config.json", config)
        _write_json(temporary / "generation_config.json", _generation(config, predictor))
        architecture = str(config["architectures"][0])
        parameters = sum(value.numel() for value in state.values())
        tokenizer = read_json(temporary / "tokenizer_config.json")["tokenizer_class"]
        page = README.format(name=out.name, architecture=architecture, parameters=parameters, tokenizer=tokenizer)
        write_atomic(temporary / "README.md", page)
    return architecture


def _tokenized_as(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config with the model type of the folder's tokenizer; exports of calque have Marian's."""
    is_marian = read_settings(folder).get("tokenizer_class") == "MarianTokenizer"
    return {**config, "model_type": "marian"} if is_marian else dict(config)


def _require_one_table(predictor: Predictor, config: Mapping[str, Any]) -> None:
    """Raise UsageError for two vocabularies that calque learned, unless the class is Marian."""
    text = predictor.text
    if config["model_type"] != "marian" and not text.joint and isinstance(text.source, SentencePieceTokenizer):
        raise UsageError(
            f"text.joint is false, and {config['architectures'][0]}, the class of these parts, has one"
            " table for both sides. Train with --set text.joint=true, or norm_position = post for two tables"
        )


def _sections(
    folder: Path, config: Mapping[str, Any], model: ModelConfig, text: ImportedText, languages: Languages | None
) -> dict[str, Any]:
    """Return the recipe of an imported model by sections; how it was trained is not known."""
    source, target = (name.partition("_")[0] for name in languages or ("", ""))
    lengths = [int(config[name]) for name in LENGTHS if isinstance(config.get(name), int) and config[name] > 0]
    return {
        "format": 1,
        "task": TaskConfig(source_language=source, target_language=target).model_dump(mode="json"),
        "data": DataConfig(max_length=min([*lengths, 1024]) if lengths else USUAL_LENGTH).model_dump(mode="json"),
        "text": text.config.model_dump(mode="json"),
        "model": model.model_dump(mode="json"),
        "search": _search(folder, config).model_dump(mode="json"),
    }


def _search(folder: Path, config: Mapping[str, Any]) -> SearchConfig:
    """Return the search settings of the model's authors: generation_config.json, or config.json in older folders."""
    path = folder / "generation_config.json"
    said = dict(config) | (read_json(path, MAX_CONFIG_BYTES) if path.is_file() else {})
    values: dict[str, Any] = {}
    for ours, theirs in (("beam", "num_beams"), ("no_repeat_ngram", "no_repeat_ngram_size")):
        if isinstance(said.get(theirs), int) and said[theirs] > 0:
            values[ours] = said[theirs]
    if isinstance(said.get("length_penalty"), int | float):
        values["length_penalty"] = float(said["length_penalty"])
    # Their length includes the start of an answer, and an end that is forced.
    if isinstance(said.get("max_length"), int) and said["max_length"] > 2:
        around = 1 if said.get("forced_eos_token_id") is None else 2
        values |= {"max_length_ratio": 0.0, "max_length_extra": said["max_length"] - around}
    if isinstance(said.get("min_length"), int) and said["min_length"] > 1:
        values["min_length"] = said["min_length"] - 1
    return SearchConfig.model_validate({"beam": 1} | values)


def _generation(config: Mapping[str, Any], predictor: Predictor) -> dict[str, Any]:
    """Return generation_config.json with the search settings that their library has."""
    options = predictor.options
    special = ("pad", "bos", "eos", "decoder_start", "forced_bos", "forced_eos")
    # Their length includes the start and the end of an answer.
    longest = options.max_length_ratio * predictor.max_length + options.max_length_extra + 2
    return {
        "num_beams": options.beam,
        "length_penalty": options.length_penalty if options.normalisation == "average" else 0.0,
        "no_repeat_ngram_size": options.no_repeat_ngram,
        "max_length": int(min(longest, config.get("max_position_embeddings", longest))),
        **{name: config[name] for name in (f"{word}_token_id" for word in special) if config.get(name) is not None},
    }


def _known(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the config that the text side decides."""
    return {name: value for name, value in about.items() if name.endswith("_token_id") and value is not None}


def _once(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return each tensor under its first name; the classes tie the other names to it."""
    seen: set[int] = set()
    kept = {}
    for name, value in weights.items():
        if value.data_ptr() not in seen:
            kept[name] = value
        seen.add(value.data_ptr())
    return kept


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
