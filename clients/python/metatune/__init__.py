"""The Python client of a metatune server."""
