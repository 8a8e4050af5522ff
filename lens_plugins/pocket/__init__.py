"""Recipes of the small hosts and lenses that ship with the package, and the language model that they share."""

__all__: list[str] = []
