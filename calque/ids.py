"""The ids of special tokens, which are the same in every vocabulary.

Text of a user is never encoded to one of them, even if it looks like `</s>`; only calque's own code inserts them.
"""

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")
NUM_SPECIALS = len(SPECIALS)
