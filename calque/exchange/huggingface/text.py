"""Read the text side of a Hugging Face folder: tokenizers, the frame of a source, and the mapping of ids.

Calque's ids 0 to 3 are padding, unknown, the token that an answer starts with, and the end. Every other row of the
model's table has an id from 4 on, even without a token, so that probabilities are spread over the same rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calque.errors import UsageError
from calque.exchange.huggingface import text_families as families
from calque.exchange.huggingface.text_families import FolderText, FolderTokens, Languages
from calque.exchange.huggingface.text_files import read_json
from calque.exchange.huggingface.text_write import write_text, written_ids
from calque.ids import BOS, NUM_SPECIALS
from calque.text.pair import TextConfig, TextPair
from calque.text.tokenizers.frame import Frame
from calque.text.tokenizers.token_table import Origin, Token, TokenTable
from calque.text.tokenizers.tokenizer import MAX_ENTRIES

__all__ = ["ImportedText", "READERS", "read_text", "write_text", "written_ids"]

READERS: dict[str, Callable[[Path, Mapping[str, Any], Languages], FolderText]] = {
    "marian": families.read_marian,
    "t5": families.read_t5,
    "mt5": families.read_t5,
    "pegasus": families.read_pegasus,
    "mbart": families.read_mbart,
    "m2m_100": families.read_m2m_100,
    "bart": families.read_bart,
}
"""The readers by the model_type of config.json."""
_STARTS_WITH_PADDING = ("marian", "t5", "mt5", "pegasus")
_MAX_SETTINGS_BYTES = 2**20


@dataclass(frozen=True)
class ImportedText:
    """The result of `read_text`: `source_ids[i]` is Hugging Face's id of calque's id i, or −1 if there is none.

    Both lists are one object if both sides share one table. The id at BOS often has another place too: Marian, T5
    and Pegasus start with padding; BART, mBART-50 and M2M-100 start with </s>.
    """

    text: TextPair
    config: TextConfig
    source_ids: list[int]
    target_ids: list[int]


def read_text(folder: Path, config: Mapping[str, Any], languages: tuple[str, str] | None) -> ImportedText:
    """Read the tokenizers of a folder with the config.json `config`; UsageError names the file and the fix.

    Only mBART and M2M-100 need `languages`, those of source and target.
    """
    kind = config.get("model_type")
    if kind not in READERS:
        raise UsageError(
            f"{folder / 'config.json'}: calque does not read models of type {str(kind)[:40]!r}; it reads"
            f" {', '.join(READERS)}."
        )
    sizes = _sizes(config, folder)
    read = READERS[kind](folder, config, languages)
    sources, targets = _tables(folder, config, read, sizes)
    source = read.source.make(sources)
    joint = sources == targets and _is_one(read)
    target = source if joint else read.target.make(targets)
    text = TextPair(source, target, joint, "none", frame=_frame(read, sources, targets, config, folder))
    kinds = {"source": {"kind": source.kind}, "target": {"kind": target.kind}}
    text_config = TextConfig.model_validate({"joint": joint, "normalise": "none", **kinds})
    source_ids, target_ids = sources.ids, targets.ids
    is_one_table = not read.apart and source_ids == target_ids
    return ImportedText(text, text_config, source_ids, source_ids if is_one_table else target_ids)


def _is_one(read: FolderText) -> bool:
    """Return whether both sides have the same tokenizer, as one object or from the same model."""
    first, second = read.source.make, read.target.make
    return read.source is read.target or getattr(first, "args", 1) == getattr(second, "args", 2)


def _tables(
    folder: Path, config: Mapping[str, Any], read: FolderText, sizes: tuple[int, int]
) -> tuple[TokenTable, TokenTable]:
    """Return the tokens of both sides in the order of calque's ids."""
    made = []
    for side, size, is_source in ((read.source, sizes[0], True), (read.target, sizes[1], False)):
        pad = _special(side, config, "pad_token_id", families.PAD, folder)
        end = _special(side, config, "eos_token_id", families.END, folder)
        usual = pad if config["model_type"] in _STARTS_WITH_PADDING else end
        start = read.start if read.start is not None else _setting(folder, config, "decoder_start_token_id")
        start = usual if start is None else start
        if is_source and read.closing is not None:
            end = read.closing
        if is_source and read.apart:
            # The start of answers is not a token of this vocabulary.
            start = next((number for number, (form, _) in side.tokens.items() if form == families.START), -1)
        made.append(_table(folder, read.origin, side, size, [pad, side.unknown, start, end]))
    return made[0], made[1]


def _table(folder: Path, origin: Origin, side: FolderTokens, size: int, first: list[int]) -> TokenTable:
    beyond = next((form for number, (form, is_text) in side.tokens.items() if is_text and number >= size), None)
    if beyond is not None or any(number >= size for number in first):
        raise UsageError(
            f"{folder / 'config.json'}: the tokenizer has more tokens than the {size:,} of vocab_size"
            f" (such as {beyond!r}). Its files do not belong to this model; copy or download the whole folder."
        )
    if len({first[0], first[1], first[3]}) < NUM_SPECIALS - 1:
        raise UsageError(f"{folder / 'config.json'}: padding, unknown and end must be three different tokens.")
    taken = set(first)
    order = first + [number for number in range(size) if number not in taken]
    unnamed = ("", False)
    tokens = [
        Token(number, form, is_text and place >= NUM_SPECIALS)
        for place, number in enumerate(order)
        for form, is_text in [side.tokens.get(number, unnamed)]
    ]
    return TokenTable(origin, tuple(tokens))


def _frame(
    read: FolderText, sources: TokenTable, targets: TokenTable, config: Mapping[str, Any], folder: Path
) -> Frame:
    forced = read.forced
    if not forced and read.start is None:
        number = _setting(folder, config, "forced_bos_token_id")
        if number is None and config.get("force_bos_token_to_be_generated") is True:
            number = _setting(folder, config, "bos_token_id")
        forced = () if number is None else (number,)
    if any(number not in targets.numbers for number in forced):
        raise UsageError(
            f"{folder / 'config.json'}: forced_bos_token_id is {forced[0]}, which is not in the vocabulary."
        )
    return Frame(
        before=tuple(sources.numbers[number] for number in read.before),
        after=tuple(sources.numbers[number] for number in read.after),
        target=tuple(targets.numbers[number] for number in forced),
        codes={form: sources.numbers[number] for form, number in read.codes.items()},
    )


def _sizes(config: Mapping[str, Any], folder: Path) -> tuple[int, int]:
    sizes = (config.get("vocab_size"), config.get("decoder_vocab_size") or config.get("vocab_size"))
    for size in sizes:
        if type(size) is not int or not BOS < size < MAX_ENTRIES:
            raise UsageError(
                f"{folder / 'config.json'}: vocab_size must be a number up to {MAX_ENTRIES:,}, but is {size!r}."
            )
    return int(sizes[0] or 0), int(sizes[1] or 0)


def _special(side: FolderTokens, config: Mapping[str, Any], key: str, form: str, folder: Path) -> int:
    """Return an id from the config, or that of the token with the usual text."""
    number = _whole(config, key, folder / "config.json")
    if number is not None:
        return number
    found = next((number for number, (each, _) in side.tokens.items() if each == form), None)
    if found is None:
        raise UsageError(f"{folder / 'config.json'}: there is no {key}, and no token {form} in the vocabulary.")
    return found


def _setting(folder: Path, config: Mapping[str, Any], key: str) -> int | None:
    """Return an id from generation_config.json, which the library prefers, or from config.json."""
    path = folder / "generation_config.json"
    number = _whole(read_json(path, _MAX_SETTINGS_BYTES), key, path) if path.is_file() else None
    return _whole(config, key, folder / "config.json") if number is None else number


def _whole(values: Mapping[str, Any], key: str, path: Path) -> int | None:
    number = values.get(key)
    number = number[0] if isinstance(number, list) and number else number
    if number is not None and (type(number) is not int or not 0 <= number < MAX_ENTRIES):
        raise UsageError(f"{path}: {key} must be an id, but is {str(number)[:40]}.")
    return number
