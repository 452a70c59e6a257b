"""Attention over a memory: kinds of scores and normalisers."""
