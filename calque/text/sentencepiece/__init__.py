"""The SentencePiece model file: read, checked and written without the library."""
