"""Heads: from the decoder's output to log-probabilities of the next token."""
