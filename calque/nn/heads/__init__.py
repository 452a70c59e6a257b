"""Heads, which map a decoder's output to log-probabilities of the next token."""
