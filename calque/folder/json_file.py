"""JSON files of a model folder, which may come from anybody: regular, small, strict, and read in bounded memory."""

import json
import math
import stat
from pathlib import Path
from typing import Any

from calque.errors import UsageError

# A recipe has some 5 KB, a manifest some 2 KB.
MAX_BYTES = 2**20


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """Return the value in `path`.

    Raises FileNotFoundError if there is no such file, and UsageError with the reason for anything that is not a
    regular file of at most `max_bytes` bytes of JSON in UTF-8 with finite numbers.
    """
    try:
        status = path.stat()
        # Checked before the file is opened: opening a FIFO would wait forever.
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is not a regular file")
        if status.st_size > max_bytes:
            raise UsageError(f"{path} has {status.st_size:,} bytes, more than the {max_bytes:,} that it may have")
        with path.open("rb") as file:
            text = file.read(max_bytes).decode()
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except FileNotFoundError:
        raise
    except RecursionError:
        raise UsageError(f"{path} cannot be read: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UsageError(f"{path} cannot be read: {reason}") from None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is out of range")
    return number
