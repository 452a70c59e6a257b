"""Strings to strings: the Predictor, ensembles, worker processes and streams of lines."""
