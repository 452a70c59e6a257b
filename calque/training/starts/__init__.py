"""Initial weights of a new model: those of another model, or word vectors."""
