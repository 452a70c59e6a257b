"""Read lines of text from files and pipes, so that every part of calque sees the same lines.

Python's text mode splits lines where other programs do not; here only a newline byte ends a line. Memory stays flat.
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

from calque.errors import DataError, ResourceError, UsageError, did_you_mean

LIMIT = 16 * 2**20
BLOCK = 2**20
STANDARD_INPUT = "standard input"

_GZIP = b"\x1f\x8b"
_ARCHIVES = {
    b"PK\x03\x04": "a zip archive (or an office document): unpack it, or save it as TSV",
    b"BZh": "compressed with bzip2: unpack it with bunzip2, or pack it with gzip",
    b"\xfd7zXZ": "compressed with xz: unpack it with unxz, or pack it with gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it with unzstd, or pack it with gzip",
}
# The mark of UTF-32 begins with that of UTF-16, so it is looked for first.
_MARKS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_WIDE = {"utf-32-le": "UTF-32LE", "utf-32-be": "UTF-32BE", "utf-16-le": "UTF-16LE", "utf-16-be": "UTF-16BE"}


# The end of the advice about a line that a data set can do without.
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
    """What the user calls it."""
    gzipped: bool
    piped: bool
    signature: tuple[int, int]
    """Size in bytes and time of the last change."""

    def lines(self, limit: int = LIMIT) -> Iterator[str | LineError]:
        """Yield each line as text, or as the error that describes what is wrong with it.

        One carriage return at the end and one byte-order mark at the start of the file are dropped. Raises DataError
        for what spoils the whole file: damaged gzip data, old Mac line ends, a change since the file was opened.
        """
        self._refuse_change()
        for number, raw in enumerate(self.raw_lines(limit), start=1):
            yield decode_line(raw, self.name, number, limit)
        self._refuse_change()

    def raw_lines(self, limit: int = LIMIT) -> Iterator[bytes]:
        """Yield each line without its newline; one that is longer than `limit` bytes is cut after `limit` + 1."""
        number = 1
        with self._open() as stream, self._damage_named(lambda: number):
            while raw := stream.readline(limit + 1):
                ended = raw.endswith(b"\n")
                if number == 1 and not ended and b"\r" in raw[:-1]:
                    advice = "convert with: tr '\\r' '\\n' < FILE > OUT"
                    raise DataError(f"the lines end in carriage returns alone (old Mac); {advice}", self.name)
                yield raw[:-1] if ended else raw
                while not ended and (rest := stream.readline(BLOCK)):
                    ended = rest.endswith(b"\n")
                number += 1

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
            raise DataError("the file vanished while calque was reading it", self.name) from None
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
            raise DataError("the file vanished while calque was reading it", self.name) from None
        if now != self.signature:
            sizes = f"{self.signature[0]:,} bytes before, {now[0]:,} now"
            advice = "start again when nothing writes to it any more"
            raise DataError(f"the file changed while calque was reading it ({sizes}); {advice}", self.name)


def decode_line(raw: bytes, name: str, number: int, limit: int = LIMIT) -> str | LineError:
    """Return a line without its newline as text, or what is wrong with it; `number` counts from 1.

    One carriage return at its end and, in line 1, one byte-order mark at its start are dropped.
    """
    if len(raw) > limit:
        return LineError(f"a line of more than {limit:,} bytes; split it{DROP}", name, number, limit)
    if raw.endswith(b"\r"):
        raw = raw[:-1]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"byte 0x{raw[error.start]:02X} is not UTF-8 ({error.reason})"
        likely = f"iconv -f {likely_encoding(raw)} -t UTF-8 (or what it is)"
        bad = LineError(f"{problem}; convert with {likely}{DROP}", name, number, error.start)
        bad.text = raw.decode("utf-8", errors="replace")
        return bad
    if "\0" in text:
        advice = "remove it with: tr -d '\\000' < FILE > OUT"
        bad = LineError(f"a NUL byte in the text; {advice}", name, number, raw.index(b"\0"))
        bad.text = text
        return bad
    return text.removeprefix("\ufeff") if number == 1 else text


def without_drop(error: DataError) -> DataError:
    """Return an error without the advice to drop its line, for where that would help nobody."""
    return DataError(error.message.replace(DROP, ""), error.file, error.line, error.byte)


def likely_encoding(raw: bytes) -> str:
    """Guess what a line that is not UTF-8 is: Chinese where its bytes come in pairs of that, else Western European."""
    try:
        characters = raw.decode("gb2312")
    except UnicodeDecodeError:
        return "WINDOWS-1252"
    # A few accented letters side by side could be taken for a pair.
    return "GB18030" if sum("\u4e00" <= character <= "\u9fff" for character in characters) > 2 else "WINDOWS-1252"


def open_lines(path: str, spool: Path | None = None) -> TextFile:
    """Look at the file `path` and return it ready to be read again and again; `-` is standard input.

    A pipe is copied first, into the folder `spool` or a temporary file. Raises UsageError for a path that cannot be
    read, DataError for an empty file or one that is not UTF-8 text.
    """
    name, piped = path, True
    try:
        if path == "-":
            name = STANDARD_INPUT
            place, temporary = _copy(sys.stdin.buffer, spool)
        elif stat.S_ISDIR(Path(path).stat().st_mode):
            raise IsADirectoryError
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
    _refuse_what_is_no_text(file)
    return file


def _signature(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _copy(stream: BinaryIO, folder: Path | None) -> tuple[Path, bool]:
    """Copy a pipe; in a folder of its own the copy is named by its hash, so that a second run meets the same name."""
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
        raise ResourceError(f"could not keep a copy of the input in {place.parent}: {error.strerror}") from None
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    return (place, True) if folder is None else (place.replace(folder / f"input-{digest.hexdigest()[:16]}"), False)


def _made(folder: Path | None) -> Path | None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _path_error(path: str, error: OSError | ValueError) -> UsageError:
    """Return what is wrong with a path that cannot be opened, with what the user may have meant."""
    here = Path(path)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if not here.parent.is_dir():
            return UsageError(f'no file "{path}": its folder "{here.parent}" is not there either.')
        with contextlib.suppress(OSError):
            known = [other.name for other in here.parent.iterdir()]
            return UsageError(f'no file "{path}".{did_you_mean(here.name, known)}')
    if isinstance(error, IsADirectoryError):
        inside: list[str] = []
        with contextlib.suppress(OSError):
            inside = sorted(other.name for other in here.iterdir() if other.is_file())[:3]
        advice = f"name a file in it, such as {', '.join(inside)}" if inside else "and it holds no file"
        return UsageError(f'"{path}" is a folder: {advice}.')
    if isinstance(error, PermissionError):
        return UsageError(f'"{path}" may not be read: chmod u+r allows it if the file is yours.')
    return UsageError(f'"{path}" cannot be read: {getattr(error, "strerror", None) or error}.')


def _refuse_what_is_no_text(file: TextFile) -> None:
    with file._open() as stream, file._damage_named(lambda: None):
        head = stream.read(2**16)
    if not head:
        raise DataError("the file is empty; one pair a line is needed", file.name)
    for magic, advice in _ARCHIVES.items():
        if head.startswith(magic):
            raise DataError(f"the file is {advice}", file.name)
    encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None) or _wide_encoding(head)
    if encoding:
        raise DataError(
            f"the text is {encoding}, not UTF-8; convert with: iconv -f {encoding} -t UTF-8 FILE > OUT", file.name, 1, 0
        )


def _wide_encoding(head: bytes) -> str | None:
    """Return the encoding of text in units of two or four bytes without a mark, or nothing."""
    nuls = head.count(0)
    if not nuls:
        return None
    for codec, name in _WIDE.items():
        unit = 4 if "32" in codec else 2
        try:
            text = head[: len(head) // unit * unit].decode(codec)
        except UnicodeDecodeError as error:
            # A surrogate pair may be cut where the head ends.
            text = head[: error.start].decode(codec) if error.start >= len(head) - 4 else "\0"
        # One stray NUL in UTF-8 also decodes as UTF-16, but into text without blanks or line ends.
        if (
            "\0" not in text
            and any(blank in text for blank in " \t\n")
            and (5 * nuls >= len(head) or not _is_utf8(head))
        ):
            return name
    return None


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 4
    return True
