"""Pictures, pages and progress lines, made from numbers and strings alone.

Nothing here depends on a model: pictures are drawn from numbers, and tests need no training.
"""
