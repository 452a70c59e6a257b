"""The engine in C: kernels compiled on first use, their layout of weights, and their search."""
