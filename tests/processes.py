"""What tests ask about processes that are not their own."""

from pathlib import Path


def is_running(number: int) -> bool:
    """Return whether a process is running, and not only waiting to be reaped."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
