"""Import and export of Keras weights and programs."""
