"""The parts of a model: encoders, decoders, attention and heads, each a torch module that knows no other room."""
