"""Computation of the gradients of an update: in this process, in forked processes or over ranks."""
