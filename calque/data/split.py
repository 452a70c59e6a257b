"""Set a tenth of the pairs aside by their source alone, so that no source is on both sides of the split.

Membership needs neither a seed nor the other pairs: a pair stays where it is when the file grows or is shuffled.
"""

import hashlib

_TENTH = 2**64 // 10


def is_held_out(source: str) -> bool:
    """Return whether pairs with this source belong to the development part, true for one source in ten.

    The first 8 bytes of the SHA-256 of the stripped source, as a number, are below a tenth of 2**64.
    """
    digest = hashlib.sha256(source.strip().encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") < _TENTH
