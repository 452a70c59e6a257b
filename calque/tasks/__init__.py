"""Tasks: the meaning of a pair, the metrics of an output, and the settings that suit them."""
