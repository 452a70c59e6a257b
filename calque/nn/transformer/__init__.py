"""Transformer encoders and decoders: layers, positions and the mixers of a decoder."""
