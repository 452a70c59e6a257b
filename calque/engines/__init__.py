"""Engines convert the sources of a batch to hypotheses, all with the same search and nearly the same numbers."""
