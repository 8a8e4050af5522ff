"""One answer about several inputs of different kinds, fused in three places.

python demos/mixed_story.py [FILE...]
"""

import sys
from pathlib import Path

import lens_plugins as lp

DATA = Path(__file__).parent / "data"

files = sys.argv[1:] or [str(file) for kind in ("*.ply", "*.jpg") for file in sorted(DATA.glob(kind))]
host = lp.load_host("pocket-instructblip")
host.plug(lp.load_lens("pocket-point-cloud"))

for file in files:
    print(f"{Path(file).name}: {host.generate(file)}")

prompt = "Create a short story around the given visual contents."
print("prompt:", prompt)
for place in ("vit", "qformer", "llm"):  # before the ViT, the Q-Former, the language model
    print(f"{place:8}", host.generate(files, prompt, fuse=place, max_new_tokens=40))

questions = ["What is it?", "What is it used for?"]
seen = host.look(files[0])  # through lens and ViT once, whatever is asked afterwards
for question in questions:
    print(f"{question} {host.generate(seen, question)}")
