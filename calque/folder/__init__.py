"""The model folder on disk: recipe, weights, record, journal, lock and checkpoints."""
