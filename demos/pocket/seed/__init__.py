"""Recipe of the small SEED-LLaMA that ships: any modality to codes, codes to text and pictures, and edits of them."""

__all__: list[str] = []
