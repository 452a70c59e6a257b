"""The special token ids: the same in every vocabulary, and defined nowhere else.

Text that a user writes never becomes one of them, whatever it looks like; only the model and the loader set them.
"""

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")
NUM_SPECIALS = len(SPECIALS)
