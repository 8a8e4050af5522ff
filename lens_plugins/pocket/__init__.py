"""The small hosts and lenses that ship: their weights, what finds and checks them, and the models that they fetch."""

__all__: list[str] = []
