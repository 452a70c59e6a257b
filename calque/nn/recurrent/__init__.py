"""Recurrent encoders and decoders: cells, layers and the bridge between the two sides."""
