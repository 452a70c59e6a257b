"""Tasks: what a pair means, how an output is scored, and which text settings suit it."""
