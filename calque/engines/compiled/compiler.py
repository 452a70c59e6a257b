"""Compile a C source of this package for the processor at hand, once, and load it.

What was compiled is kept in the user's cache folder, under a name that changes with source, compiler and processor.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from calque.errors import ResourceError

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-shared")
SECONDS = 120.0


def compiled(source: Path) -> ctypes.CDLL:
    """Return the library of a source and the headers beside it.

    Raises ResourceError where there is no compiler, or it refuses.
    """
    made = _tried(source)
    if isinstance(made, str):
        raise ResourceError(made)
    return made


@cache
def _tried(source: Path) -> ctypes.CDLL | str:
    """Return the library, or why there is none: it is not tried again."""
    try:
        compiler = find_compiler()
    except ResourceError as error:
        return str(error)
    texts = [part.read_bytes() for part in sorted(source.parent.iterdir()) if part.is_file()]
    name = hashlib.sha256(b"\0".join([*texts, *map(str.encode, (compiler, *FLAGS)), processor()])).hexdigest()
    try:
        path = cache_folder() / f"{source.stem}-{name[:20]}.so"
        if not path.exists():
            _compile(compiler, source, path)
        return ctypes.CDLL(str(path))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return f"{compiler} made nothing that can be loaded: {_reason(error)}"


def find_compiler() -> str:
    """Return the path of a C compiler, $CC before others; ResourceError where there is none."""
    names = [name for name in (os.environ.get("CC"), *COMPILERS) if name]
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        raise ResourceError(f"no C compiler ({', '.join(names)}) was found")
    return found


def cache_folder() -> Path:
    """Return where compiled libraries are kept, for this user alone."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(home) / "calque"


def _compile(compiler: str, source: Path, path: Path) -> None:
    """Compile into a file that is whole or not there; two processes may do it at once."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        command = [compiler, *FLAGS, str(source), "-o", str(made), "-lm"]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)
        made.replace(path)


def processor() -> bytes:
    """Return what tells processors apart: their instructions where the system lists them."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return b""
    return next((line for line in lines if line.startswith((b"flags", b"Features"))), b"")


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in str(error.stderr).splitlines() if "error" in line]
        return (lines or [f"exit code {error.returncode}"])[0]
    return str(error)
