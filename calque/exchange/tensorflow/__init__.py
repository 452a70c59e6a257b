"""TensorFlow modules that compute what a model computes."""
