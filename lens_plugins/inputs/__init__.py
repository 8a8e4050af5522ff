"""A file or an array becomes a tensor of its modality."""
