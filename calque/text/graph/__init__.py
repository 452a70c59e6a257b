"""Graphs as sources: how a line describes one, and how it is laid out as tokens."""
