"""Pictures, pages and progress lines, made from numbers and strings alone.

Nothing in here knows a model: whoever has the numbers can draw them, and a test needs no training.
"""
