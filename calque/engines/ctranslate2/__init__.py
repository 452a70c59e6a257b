"""CTranslate2 as an engine, and its model folder."""
