"""Read lines of text from files and pipes, with the same line ends in every part of calque.

Python's text mode splits lines where other programs do not; here only a newline byte ends a line. Memory use does not
grow with the file.
"""

import contextlib
import gzip
import hashlib
import os
import stat
import sys
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from calque.data.files.magic import encoding_of, kind_of, likely_encoding
from calque.errors import DataError, ResourceError, UsageError, did_you_mean

# A longer line is refused: tokenizing it would take a hundred times its size in memory.
LIMIT = 4 * 2**20
BLOCK = 2**20
STANDARD_INPUT = "standard input"

_GZIP = b"\x1f\x8b"
_HEAD_BYTES = 2**16
# The end of the advice for a line that can be left out of a data set.
DROP = ", or drop the line: calque check FILE --fix OUT"


class LineError(DataError):
    """A line that cannot be used; `text` is its readable part, whose quotation marks still count in CSV."""

    text = ""


@dataclass(frozen=True)
class TextFile:
    """A file of lines that can be read again and again."""

    path: Path
    """File with the bytes."""
    name: str
    """Name of the file in messages, as the user wrote it."""
    gzipped: bool
    piped: bool
    signature: tuple[int, int]
    """Size in bytes and time of the last change."""

    def lines(self, limit: int = LIMIT) -> Iterator[str | LineError]:
        """Yield each line as text, or its error.

        One carriage return at the end of a line and one byte-order mark at the start of the file are dropped. Raises
        DataError for damaged gzip data, for old Mac line ends, and if the file has changed since it was opened.
        """
        self._refuse_change()
        for number, raw in enumerate(self.raw_lines(limit), start=1):
            yield decode_line(raw, self.name, number, limit)
        self._refuse_change()

    def raw_lines(self, limit: int = LIMIT) -> Iterator[bytes]:
        """Yield each line without its newline; a line longer than `limit` bytes is cut after `limit` + 1."""
        number, num_returns = 1, 0
        with self._open() as stream, self._damage_named(lambda: number):
            while raw := stream.readline(limit + 1):
                ended = raw.endswith(b"\n")
                if number == 1:
                    num_returns = raw[:-1].removesuffix(b"\r").count(b"\r")
                    if num_returns and not ended:
                        raise self._old_mac()
                yield raw[:-1] if ended else raw
                while not ended and (rest := stream.readline(BLOCK)):
                    ended = rest.endswith(b"\n")
                number += 1
        if number == 2 and num_returns > 1:
            raise self._old_mac()

    def start(self, most: int = _HEAD_BYTES) -> str:
        """Return the first `most` bytes as text; bytes that are not UTF-8 are replaced."""
        with self._open() as stream, self._damage_named(lambda: None):
            return stream.read(most).decode("utf-8", errors="replace").removeprefix("\ufeff")

    def whole(self) -> str:
        """Return the whole text of a file that is one document; DataError if it is not UTF-8."""
        self._refuse_change()
        with self._open() as stream, self._damage_named(lambda: None):
            raw = stream.read()
        text = decode_line(raw, self.name, 1, len(raw))
        if isinstance(text, DataError):
            raise without_drop(text)
        return text

    def _old_mac(self) -> DataError:
        advice = "convert the file with: tr '\\r' '\\n' < FILE > OUT"
        return DataError(f"the lines end in a carriage return without a newline (old Mac); {advice}", self.name)

    def count(self) -> int:
        """Return the number of lines, a last one without newline included."""
        number, last = 0, b"\n"
        with self._open() as stream, self._damage_named(lambda: number + 1):
            while block := stream.read(BLOCK):
                number, last = number + block.count(b"\n"), block[-1:]
        return number + (last != b"\n")

    def _open(self) -> BinaryIO:
        try:
            return cast(BinaryIO, gzip.open(self.path, "rb")) if self.gzipped else self.path.open("rb")
        except FileNotFoundError:
            raise DataError("the file was removed while calque read it", self.name) from None
        except OSError as error:
            raise _path_error(self.name, error) from None

    @contextlib.contextmanager
    def _damage_named(self, line: Callable[[], int | None]) -> Iterator[None]:
        try:
            yield
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            what = "is cut off" if isinstance(error, EOFError) else "is damaged"
            advice = "copy or download the file again (gzip -t FILE tests it)"
            raise DataError(f"the gzip data {what}; {advice}", self.name, line()) from None

    def _refuse_change(self) -> None:
        try:
            now = _signature(self.path.stat())
        except OSError:
            raise DataError("the file was removed while calque read it", self.name) from None
        if now != self.signature:
            sizes = f"{self.signature[0]:,} bytes before, {now[0]:,} now"
            advice = "start again when no other program writes to it"
            raise DataError(f"the file changed while calque read it ({sizes}); {advice}", self.name)


def decode_line(raw: bytes, name: str, number: int, limit: int = LIMIT) -> str | LineError:
    """Return a line without its newline as text, or its error; `number` counts from 1.

    One carriage return at its end and, in line 1, one byte-order mark at its start are dropped.
    """
    if len(raw) > limit:
        return LineError(f"the line has more than {limit:,} bytes; split it{DROP}", name, number, limit)
    if raw.endswith(b"\r"):
        raw = raw[:-1]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"byte 0x{raw[error.start]:02X} is not UTF-8 ({error.reason})"
        likely = f"iconv -f {likely_encoding(raw)} -t UTF-8 FILE > OUT (or another encoding)"
        bad = LineError(f"{problem}; convert the file with {likely}{DROP}", name, number, error.start)
        bad.text = raw.decode("utf-8", errors="replace")
        return bad
    if "\0" in text:
        advice = "remove it with: tr -d '\\000' < FILE > OUT"
        bad = LineError(f"the text contains a NUL byte; {advice}", name, number, raw.index(b"\0"))
        bad.text = text
        return bad
    return text.removeprefix("\ufeff") if number == 1 else text


def without_drop(error: DataError) -> DataError:
    """Return an error without the advice to drop its line, where that would not help."""
    return DataError(error.message.replace(DROP, ""), error.file, error.line, error.byte)


def open_lines(path: str, spool: Path | None = None) -> TextFile:
    """Check the file `path` and return it, so that it can be read repeatedly; `-` is standard input.

    A pipe is copied first, into the folder `spool` or into a temporary file. Raises UsageError for a path that cannot
    be read, and DataError for a file that is empty or not UTF-8 text.
    """
    name, piped = path, True
    try:
        if path == "-":
            name = STANDARD_INPUT
            place, temporary = _copy(sys.stdin.buffer, spool)
        elif stat.S_ISDIR(Path(path).stat().st_mode):
            raise IsADirectoryError
        elif _is_endless(path):
            raise UsageError(f'"{path}" is a device, not a text file.')
        elif not stat.S_ISREG(Path(path).stat().st_mode):
            with Path(path).open("rb") as stream:
                place, temporary = _copy(stream, spool)
        else:
            place, temporary, piped = Path(path), False, False
        with place.open("rb") as stream:
            gzipped = stream.read(2) == _GZIP
            file = TextFile(place, name, gzipped, piped, _signature(os.fstat(stream.fileno())))
    except (OSError, ValueError) as error:
        raise _path_error(path, error) from None
    if temporary:
        weakref.finalize(file, place.unlink, missing_ok=True)
    _require_text(file)
    return file


def _is_endless(path: str) -> bool:
    """Return whether a path is a device that is neither a terminal nor the null device."""
    status = Path(path).stat()
    if stat.S_ISBLK(status.st_mode):
        return True
    if not stat.S_ISCHR(status.st_mode) or Path(path).samefile(os.devnull):
        return False
    with Path(path).open("rb", buffering=0) as stream:
        return not stream.isatty()


def _signature(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _copy(stream: BinaryIO, folder: Path | None) -> tuple[Path, bool]:
    """Copy a pipe; in `folder` the copy is named by its hash, so that the same input again has the same name."""
    descriptor, temporary = tempfile.mkstemp(prefix="calque-", dir=_made(folder))
    place = Path(temporary)
    digest = hashlib.sha256()
    try:
        with os.fdopen(descriptor, "wb") as copy:
            while block := stream.read(BLOCK):
                digest.update(block)
                copy.write(block)
    except OSError as error:
        place.unlink(missing_ok=True)
        raise ResourceError(f"cannot write a copy of the input to {place.parent}: {error.strerror}") from None
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    return (place, True) if folder is None else (place.replace(folder / f"input-{digest.hexdigest()[:16]}"), False)


def _made(folder: Path | None) -> Path | None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _path_error(path: str, error: OSError | ValueError) -> UsageError:
    """Return the error of a path that cannot be opened, with the nearest name."""
    here = Path(path)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if not here.parent.is_dir():
            return UsageError(f'no file "{path}": its folder "{here.parent}" does not exist either.')
        with contextlib.suppress(OSError):
            known = [other.name for other in here.parent.iterdir()]
            return UsageError(f'no file "{path}".{did_you_mean(here.name, known)}')
    if isinstance(error, IsADirectoryError):
        inside: list[str] = []
        with contextlib.suppress(OSError):
            inside = sorted(other.name for other in here.iterdir() if other.is_file())[:3]
        advice = f"name a file in it, such as {', '.join(inside)}" if inside else "it contains no file"
        return UsageError(f'"{path}" is a folder: {advice}.')
    if isinstance(error, PermissionError):
        return UsageError(f'"{path}": permission denied. If the file is yours, chmod u+r makes it readable.')
    return UsageError(f'"{path}" cannot be read: {getattr(error, "strerror", None) or error}.')


def _require_text(file: TextFile) -> None:
    with file._open() as stream, file._damage_named(lambda: None):
        head = stream.read(_HEAD_BYTES)
    if not head:
        raise DataError("the file is empty; one pair per line is needed", file.name)
    kind, encoding = kind_of(head), encoding_of(head)
    if kind:
        raise DataError(f"the file is {kind}", file.name)
    if encoding:
        advice = f"convert the file with: iconv -f {encoding} -t UTF-8 FILE > OUT"
        raise DataError(f"the text is {encoding}, not UTF-8; {advice}", file.name, 1, 0)
