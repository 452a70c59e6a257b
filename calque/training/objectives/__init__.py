"""Objectives of training, which compute the loss of each target token from a model and a batch."""
