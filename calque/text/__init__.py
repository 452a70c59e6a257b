"""Text to ids and back: SentencePiece, words, characters and bytes, trained for both sides of a pair.

Every tokenizer is checked when it is read from a file; nothing here imports torch.
"""
