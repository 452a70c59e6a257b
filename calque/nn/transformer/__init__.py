"""Transformer encoders and decoders: layers, positions and a decoder's mixers."""
