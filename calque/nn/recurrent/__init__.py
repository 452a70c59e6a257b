"""Recurrent encoders and decoders: cells, layers and the bridges between the two."""
