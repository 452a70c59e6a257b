"""Train a model: updates, objectives, state and checkpoints that survive a kill at any moment.

Import the modules directly; this file stays empty so that none of them costs the others.
"""
