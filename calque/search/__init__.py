"""One loop over a Scorer: greedy and beam search, n-best, constraints; it knows nothing of models."""
