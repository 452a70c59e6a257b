"""Engines: who turns the sources of a batch into hypotheses, all with the same search and nearly the same numbers."""
