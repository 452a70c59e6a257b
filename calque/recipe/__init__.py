"""The recipe: the whole configuration of a run, its layers, and the defaults that come from data and machine."""
