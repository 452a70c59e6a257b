"""What a new model starts from: the weights of another, or word vectors."""
