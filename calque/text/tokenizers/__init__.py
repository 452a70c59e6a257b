"""Tokenizers: from a text to ids and back, each in a module of its own."""
