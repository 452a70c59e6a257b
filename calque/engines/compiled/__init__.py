"""The engine in C: kernels that are compiled at first use, their layout of weights, and their search."""
