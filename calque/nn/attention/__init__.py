"""Attention over a memory: every way to score, to normalise and to mix."""
