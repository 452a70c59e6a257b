"""The token store: encoded pairs on disk, mapped into memory."""
