"""Plug a lens into an InstructBLIP that your own code has loaded: nothing in the model moves, and unplugging is free.

python demos/plug_into_your_model.py [FILE]
"""

import sys
from pathlib import Path

import torch

import lens_plugins as lp
from lens_plugins.splice import digest

file = sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).parent / "data" / "chair.ply")
model = lp.load_host("pocket-instructblip").model  # yours: InstructBlipForConditionalGeneration.from_pretrained(...)

host = lp.load_host(model)  # wraps it; no copy, no patch
lens = lp.load_lens("pocket-point-cloud")
before = digest(model)

host.plug(lens)
cloud = lp.read(file, settings=lens.config.input)
latents = lens(cloud.tensor[None])  # (1, N, D): in place of a picture's patch tokens
features = host.vit.encode(latents)  # (1, 1 + N, D): what the model's Q-Former reads
with torch.no_grad():
    prefix = host.prefix(features)  # (1, Q, H): what its language model reads before the prompt
print("latents", tuple(latents.shape), "features", tuple(features.shape), "prefix", tuple(prefix.shape))

host.unplug("point_cloud")
print("the model is as it was, to the bit:", digest(model) == before)
