"""Tensor -> latents: the trained part. Import from the modules, or the public names from `lens_plugins`."""

__all__: list[str] = []
