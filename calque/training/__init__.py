"""Training: updates, objectives, optimizers and the state of a run, which survives a kill at any moment.

Import the modules directly; this file imports none of them, so that each can be imported without the others.
"""
