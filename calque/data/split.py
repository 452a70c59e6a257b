"""Hold out a tenth of the pairs by their source alone, so that no source is on both sides of the split.

Membership needs neither a seed nor the other pairs: a pair stays on its side if the file grows or is shuffled.
"""

import hashlib

from calque.text.identity import NFC, Identity

_TENTH = 2**64 // 10


def is_held_out(source: str, identity: Identity = NFC) -> bool:
    """Return whether pairs with this source are held out for validation; this is true for one source in ten.

    The first 8 bytes of the SHA-256 of the source's identity, as a number, are below a tenth of 2**64.
    """
    digest = hashlib.sha256(identity.of(source).encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") < _TENTH
