"""Objectives of training: from a model and a batch to the loss of each target token."""
