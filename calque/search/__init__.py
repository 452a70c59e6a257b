"""Greedy and beam search, n-best and constraints in one loop over a Scorer, independent of the model."""
