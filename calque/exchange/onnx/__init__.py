"""ONNX graphs of a model, with a program that runs them."""
