"""The demo: train on built-in phrases and show the result."""
