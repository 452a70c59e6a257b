"""Encoders of graphs: every token of a node's label is a position, edges connect positions."""
