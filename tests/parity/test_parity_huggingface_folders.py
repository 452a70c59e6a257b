"""Whole folders: a model of transformers answers the same text in calque, and one of calque the same text in theirs."""

import json
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sentencepiece
import torch
from toy_language import DIGITS, Finished, pairs, train_command, write_pairs

import calque
from calque.folder.weights import load_weights, save_weights

Command = Callable[..., Finished]
WORDS = [*DIGITS, *DIGITS.values(), "rain", "falls", "on", "the", "quay", "slowly", "und", "Regen"]
# Learns the toy language in seconds, of parts that Pegasus has.
TRANSFORMER = (
    "train.precision=fp32",
    "train.device=cpu",
    "train.batch_tokens=256",
    "train.lr=0.004",
    "train.warmup=20",
    "train.max_updates=150",
    "train.validate_every=75",
    "train.save_every=75",
    "train.validation_sentences=20",
    "model.encoder.kind=transformer",
    "model.decoder.kind=transformer",
    "model.encoder.width=32",
    "model.decoder.width=32",
    "model.encoder.heads=2",
    "model.decoder.heads=2",
    "model.encoder.layers=1",
    "model.decoder.layers=2",
    "model.encoder.feed_forward=64",
    "model.decoder.feed_forward=64",
    "text.vocab_size=60",
    "text.joint=true",
    "search.beam=1",
)


def sentences(count: int, seed: int = 5) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 9))) for _ in range(count)]


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory, transformers: ModuleType) -> Path:
    """Return a Marian folder as OPUS-MT's are, with pieces of its own and random weights."""
    folder = tmp_path_factory.mktemp("marian")
    (folder / "text.txt").write_text("\n".join(sentences(400, seed=1)) + "\n")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "both"), vocab_size=60, hard_vocab_limit=False,
        minloglevel=3,
    )  # fmt: skip
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "both.model"))
    known = [model.id_to_piece(number) for number in range(model.vocab_size())]
    forms = ["</s>", "<unk>", *(piece for piece in known if piece not in ("<s>", "</s>", "<unk>")), "<pad>"]
    for name in ("source.spm", "target.spm"):
        shutil.copy(folder / "both.model", folder / name)
    (folder / "vocab.json").write_text(json.dumps({form: number for number, form in enumerate(forms)}))
    settings = {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "de", "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config = transformers.MarianConfig(
        vocab_size=len(forms), d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, activation_function="swish",
        max_position_embeddings=128, scale_embedding=True, pad_token_id=len(forms) - 1, eos_token_id=0,
        decoder_start_token_id=len(forms) - 1, forced_eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(2)
    theirs = transformers.MarianMTModel(config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "embed_positions" not in name and "norm" not in name:
                parameter.copy_(torch.randn_like(parameter) * 0.5)
        theirs.final_logits_bias.copy_(torch.randn_like(theirs.final_logits_bias))
        # Neither padding, nor an end at once.
        theirs.final_logits_bias[:, -1], theirs.final_logits_bias[:, 0] = -1e9, -4.0
    theirs.generation_config.max_length, theirs.generation_config.num_beams = 30, 1
    theirs.generation_config.no_repeat_ngram_size = 2
    theirs.save_pretrained(folder)
    return folder


def answered(transformers: ModuleType, folder: Path, lines: list[str], architecture: str, **options: Any) -> list[str]:
    """Return what transformers answers with a folder, as a user of theirs writes it."""
    with warnings.catch_warnings():
        # It recommends sacremoses, which its own encoding does not call.
        warnings.simplefilter("ignore")
        tokenizer = transformers.MarianTokenizer.from_pretrained(folder)
    model = getattr(transformers, architecture).from_pretrained(folder).eval()
    with torch.no_grad():
        ids = model.generate(**tokenizer(lines, return_tensors="pt", padding=True), **options)
    return list(tokenizer.batch_decode(ids, skip_special_tokens=True))


def test_an_imported_model_answers_as_before(
    command: Command, marian: Path, transformers: ModuleType, tmp_path: Path
) -> None:
    out = tmp_path / "opus"
    ended = command("import", "huggingface", marian, out)
    assert ended.code == 0, ended.err
    lines = sentences(60)
    expected = answered(transformers, marian, lines, "MarianMTModel")
    assert len(set(expected)) > 20
    assert calque.load(out)(lines) == expected
    assert "marian" in ended.err
    # It went where nothing was: a second import is refused.
    again = command("import", "huggingface", marian, out)
    assert (again.code, "already exists" in again.err) == (2, True)
    # And back: the folder that comes out answers the same.
    ended = command("export", out, tmp_path / "back", "--to", "huggingface")
    assert ended.code == 0, ended.err
    assert answered(transformers, tmp_path / "back", lines, "MarianMTModel") == expected


def test_an_imported_model_is_trained_further_and_exported(
    command: Command, marian: Path, transformers: ModuleType, tmp_path: Path
) -> None:
    out = tmp_path / "opus"
    assert command("import", "huggingface", marian, out).code == 0
    data = write_pairs(tmp_path / "digits.tsv")
    sets = [part for field in ("max_updates=8", "warmup=0") for part in ("--set", f"train.{field}")]
    ended = command("train", data, "--from", out, "--out", tmp_path / "tuned", "--threads", "1", *sets)
    assert ended.code == 0, ended.err
    before, after = calque.load(out), calque.load(tmp_path / "tuned")
    assert before.text.fingerprint == after.text.fingerprint
    parameters = dict(before.model.named_parameters())
    moved = [name for name, value in after.model.named_parameters() if not torch.equal(value, parameters[name])]
    assert len(moved) > len(parameters) / 2
    # Padding, which is also what starts an answer there, was drawn apart from it, and gives way.
    ended = command("export", tmp_path / "tuned", tmp_path / "back", "--to", "huggingface")
    assert ended.code == 0, ended.err
    lines = sentences(30)
    # An answer may be as long as before: the length that these few pairs suggest is another in every library.
    bounded = calque.load(tmp_path / "tuned", before.options)
    assert answered(transformers, tmp_path / "back", lines, "MarianMTModel", max_length=30) == bounded(lines)


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_older_folders_and_shards(safe: bool, marian: Path, command: Command, tmp_path: Path) -> None:
    weights = dict(load_weights(marian / "model.safetensors"))
    folder = Path(shutil.copytree(marian, tmp_path / "copy"))
    (folder / "model.safetensors").unlink()
    if safe:
        first, ending = list(weights)[: len(weights) // 2], "safetensors"
        shards = {name: f"model-0000{1 if name in first else 2}-of-00002.{ending}" for name in weights}
        for file in set(shards.values()):
            part = {name: value for name, value in weights.items() if shards[name] == file}
            save_weights(folder / file, part, {"format": "pt"})
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    else:
        torch.save(weights, folder / "pytorch_model.bin")
    assert command("import", "huggingface", folder, tmp_path / "out").code == 0
    assert command("import", "huggingface", marian, tmp_path / "other").code == 0
    assert calque.load(tmp_path / "out")(sentences(5)) == calque.load(tmp_path / "other")(sentences(5))


class Hostile:
    """Run a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_bad_folders_are_refused_in_one_line(command: Command, marian: Path, tmp_path: Path) -> None:
    def broken(name: str, file: str, content: bytes | None) -> str:
        folder = Path(shutil.copytree(marian, tmp_path / name))
        (folder / file).unlink(missing_ok=True)
        if content is not None:
            (folder / file).write_bytes(content)
        ended = command("import", "huggingface", folder, tmp_path / "out")
        assert ended.code == 2, ended.err
        assert len(ended.err.strip().splitlines()) <= 6
        assert not (tmp_path / "out").exists()
        return ended.err

    assert "no config.json" in broken("a", "config.json", None)
    assert "not JSON" in broken("b", "config.json", b"{")
    assert "model_type is 'gpt2'" in broken("c", "config.json", b'{"model_type": "gpt2"}')
    assert "neither model.safetensors nor pytorch_model.bin" in broken("d", "model.safetensors", None)
    assert "damaged" in broken("e", "model.safetensors", b"\0" * 100)
    assert "vocab.json" in broken("f", "vocab.json", None)
    assert "source.spm" in broken("g", "source.spm", b"nothing")
    index = json.dumps({"weight_map": {"x": "../secret.bin"}}).encode()
    folder = Path(shutil.copytree(marian, tmp_path / "h"))
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_bytes(index)
    ended = command("import", "huggingface", folder, tmp_path / "out")
    assert (ended.code, "not in this folder" in ended.err) == (2, True)
    (folder / "model.safetensors.index.json").unlink()
    torch.save({"x": Hostile(tmp_path / "owned")}, folder / "pytorch_model.bin")
    ended = command("import", "huggingface", folder, tmp_path / "out")
    assert (ended.code, "more than tensors" in ended.err) == (2, True)
    assert not (tmp_path / "owned").exists()


def test_a_model_of_calque_answers_the_same_in_transformers(
    command: Command, transformers: ModuleType, tmp_path: Path
) -> None:
    data, run = write_pairs(tmp_path / "digits.en-zh.tsv", 400), tmp_path / "run"
    ended = command(*train_command(data, run, TRANSFORMER))
    assert ended.code == 0, ended.err
    ended = command("export", run, tmp_path / "theirs", "--to", "huggingface")
    assert ended.code == 0, ended.err
    lines = [source for source, _ in pairs(50, seed=9)]
    ours = calque.load(run)
    assert len(set(ours(lines))) > 10
    theirs = answered(transformers, tmp_path / "theirs", lines, "PegasusForConditionalGeneration")
    # calque drops the signs of bytes that form no character.
    assert [text.replace("\ufffd", "") for text in theirs] == ours(lines)
    # Imported again, it is the model that it was.
    assert command("import", "huggingface", tmp_path / "theirs", tmp_path / "again").code == 0
    assert calque.load(tmp_path / "again")(lines) == ours(lines)


def test_what_no_class_has_is_refused(command: Command, tmp_path: Path) -> None:
    data, run = write_pairs(tmp_path / "digits.en-zh.tsv"), tmp_path / "run"
    assert command(*train_command(data, run)).code == 0
    ended = command("export", run, tmp_path / "theirs", "--to", "huggingface")
    assert ended.code == 2
    assert "Hugging Face" in ended.err
    apart = [
        *(field for field in TRANSFORMER if "joint" not in field and "updates" not in field),
        "train.max_updates=2",
    ]
    assert command(*train_command(data, tmp_path / "apart", apart)).code == 0
    ended = command("export", tmp_path / "apart", tmp_path / "theirs", "--to", "huggingface")
    assert (ended.code, "--set text.joint=true" in ended.err) == (2, True)
    assert not (tmp_path / "theirs").exists()
