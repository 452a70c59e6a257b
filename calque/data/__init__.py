"""Read pairs, check them, store them as tokens and cut them into batches."""
