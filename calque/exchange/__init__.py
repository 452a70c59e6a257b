"""Import from other libraries and export to them: names, order and layout of their weights.

Import the modules directly: this file is empty, so that no module loads another.
"""
