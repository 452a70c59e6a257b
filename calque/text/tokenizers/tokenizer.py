"""What every tokenizer offers, and what they share: the special ids, labels for pictures, careful reading of files.

Text that a user writes never becomes a special id, whatever it looks like; only the model and the loader set those.
"""

import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from calque.errors import UsageError
from calque.system.files import write_atomic

# A vocabulary beyond these is a mistake or an attack. SentencePiece needs up to 17 times the bytes of the file in
# memory, which is why that limit is the tightest; 100,000 pieces take some 2 MB, the 250,000 of mBART 5 MB.
MAX_ENTRIES = 300_000
MAX_ENTRY_BYTES = 256
MAX_FILE_BYTES = 16 * 2**20

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Tokenizer(Protocol):
    """A tokenizer: from text to ids and back; ids 0 to 3 are PAD, UNK, BOS and EOS in every tokenizer."""

    @property
    def kind(self) -> str:
        """Return the `kind` of the config that it was trained from."""

    @property
    def vocab_size(self) -> int:
        """Return the number of ids, the four special ones included."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, without BOS and EOS."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids` (each below `vocab_size`); the four special ids leave no trace."""

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return one visible label per id, for pictures and tables; not to be joined into text."""

    def forms(self, text: str) -> list[str]:
        """Return the form of each id of `encode(text)` as it stands in the text, known or not."""

    def id_of(self, form: str) -> int | None:
        """Return the id of such a form, None where there is none."""

    def files(self, name: str) -> dict[str, bytes]:
        """Return the files that hold this tokenizer, by file name; none where the kind says everything."""

    def save(self, folder: Path, name: str) -> None:
        """Write `files(name)` into `folder`."""


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write each file into `folder`, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        write_atomic(folder / name, data)


def read_limited(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """Return the bytes of a regular file; UsageError if it is missing, no regular file, or larger than `limit`."""
    try:
        status = path.stat()
        # Checked before opening: a FIFO would wait for ever.
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path}: not a regular file.")
        if status.st_size > limit:
            raise UsageError(f"{path}: {status.st_size:,} bytes, more than the {limit:,} that such a file may have.")
        with path.open("rb") as file:
            return file.read(limit)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file. A model needs its text/ folder whole; copy it again.") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error}).") from None


def damaged(path: Path, reason: str) -> UsageError:
    """Return the error for a file that is not as calque writes it."""
    return UsageError(f"{path}: damaged, or not written by calque: {reason}. Copy the file again or train anew.")


def well_formed(text: str) -> str:
    """Return `text` with U+FFFD for each lone surrogate (JSON lets them in, UTF-8 has no bytes for them)."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def visible(text: str) -> str:
    """Return a label for `text` in which every character can be seen."""
    shown = "".join("␣" if char == " " else char if char.isprintable() else f"U+{ord(char):04X}" for char in text)
    return shown or "␣"


def visible_byte(byte: int) -> str:
    """Return the ASCII character of `byte` where it has a visible one, else its number."""
    return chr(byte) if 0x20 < byte < 0x7F else f"0x{byte:02X}"
