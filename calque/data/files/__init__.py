"""Data files: lines, formats and columns, read as examples and never trusted."""
