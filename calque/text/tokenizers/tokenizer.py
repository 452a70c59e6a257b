"""The base of the tokenizers, with labels for pictures and careful reading of files.

Text of a user never becomes a special id, even if it looks like one; only the model and the loader set special ids.
"""

import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from calque.errors import UsageError
from calque.system.files import write_atomic

# A vocabulary beyond these limits is a mistake or an attack. SentencePiece needs up to 17 times the size of the file
# in memory, so that limit is the tightest; 100,000 pieces take about 2 MB, the 250,000 of mBART 5 MB.
MAX_ENTRIES = 300_000
MAX_ENTRY_BYTES = 256
MAX_FILE_BYTES = 16 * 2**20

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Tokenizer(ABC):
    """Base of the tokenizers: from text to ids and back; ids 0 to 3 are PAD, UNK, BOS and EOS in each of them."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """Return the `kind` of the config that it was trained from."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Return the number of ids, including the four special ones."""

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, without BOS and EOS; unknown forms are UNK."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, each below `vocab_size`; the special ids are left out."""

    @abstractmethod
    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return a visible label for each id, for pictures and tables; labels cannot be joined into the text."""

    @abstractmethod
    def forms(self, text: str) -> list[str]:
        """Return the form of each id of `encode(text)` as it is in the text, known or not."""

    @abstractmethod
    def id_of(self, form: str) -> int | None:
        """Return the id of a form, None for an unknown one."""

    @abstractmethod
    def files(self, name: str) -> dict[str, bytes]:
        """Return the content of this tokenizer's files by file name; empty if the kind defines the tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, without BOS and EOS."""
        return self.encode_batch([text])[0]

    def save(self, folder: Path, name: str) -> None:
        """Write `files(name)` into `folder`."""
        write_files(folder, self.files(name))


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write each file into `folder`, which is created if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        write_atomic(folder / name, data)


def read_limited(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """Return the bytes of a file; UsageError if it is missing, not a regular file, or larger than `limit`."""
    try:
        status = path.stat()
        # Checked before it is opened, because opening a FIFO would wait forever.
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path}: not a regular file.")
        if status.st_size > limit:
            raise UsageError(f"{path}: {status.st_size:,} bytes; such a file may have at most {limit:,}.")
        with path.open("rb") as file:
            return file.read(limit)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file. A model needs all files of its text/ folder; copy it again.") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error}).") from None


def damaged(path: Path, reason: str) -> UsageError:
    """Return the error of a file whose content differs from what calque writes."""
    return UsageError(f"{path}: damaged, or not written by calque: {reason}. Copy the file again, or train again.")


def well_formed(text: str) -> str:
    """Return `text` with U+FFFD for each lone surrogate (JSON allows them, UTF-8 does not)."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def visible(text: str) -> str:
    """Return a label for `text` in which every character is visible."""
    shown = "".join("␣" if char == " " else char if char.isprintable() else f"U+{ord(char):04X}" for char in text)
    return shown or "␣"


def visible_byte(byte: int) -> str:
    """Return the ASCII character of `byte` if it is visible, else its number."""
    return chr(byte) if 0x20 < byte < 0x7F else f"0x{byte:02X}"
