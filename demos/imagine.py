"""Pictures of things that no camera saw: a point cloud drawn, changed by instruction, and put beside a photo's thing.

python demos/imagine.py [FILE...]    (writes imagined-*.png; needs the extra `seed`)
"""

import sys
from pathlib import Path

import lens_plugins as lp

DATA = Path(__file__).parent / "data"

files = sys.argv[1:] or [str(DATA / "chair.ply"), str(DATA / "lamp.jpg")]
host = lp.load_host("pocket-seed-llama")  # draws 64 px; a SEED-LLaMA of your own draws as large as it was made for
host.plug(lp.load_lens("pocket-point-cloud"))  # the very lens that pocket-instructblip has

tasks = {
    "again": (files[:1], None),
    "red": (files[:1], "Make it red."),
    "winter": (files[:1], "Make it winter style."),
    "both": (files, None),
}
for name, (inputs, prompt) in tasks.items():
    (reply,) = host.imagine(inputs, prompt)  # codes first, then a picture of them
    target = Path(f"imagined-{name}.png")
    reply.images[0].save(target)
    print(f"{target}: codes {reply.codes[0].tolist()}")
