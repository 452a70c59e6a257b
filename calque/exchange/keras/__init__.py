"""Keras weights and programs, in and out."""
