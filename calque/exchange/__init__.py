"""Models in the forms of other libraries: how their weights are named, ordered and laid out.

Import the modules directly; this file stays empty so that none of them costs the others.
"""
