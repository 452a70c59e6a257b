"""One run, from a request to a finished folder."""
