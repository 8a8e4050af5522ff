"""A real point cloud, drawn in the terminal, and what a frozen host says of it through a lens.

python demos/caption_point_cloud.py [FILE]
"""

import sys
from pathlib import Path

import torch

import lens_plugins as lp

CHAIR = Path(__file__).parent / "data" / "chair.ply"
ROWS, COLUMNS, TURN, TILT = 22, 44, 0.6, 0.35
DOTS = torch.tensor([[1, 8], [2, 16], [4, 32], [64, 128]])  # of a braille letter: 4 rows, 2 columns


def draw(points: torch.Tensor) -> str:
    """Dots of a cloud (P, 3), y up, seen from the front, a little from the right and from above."""
    x, y, z = points.unbind(1)
    turn, tilt = torch.tensor(TURN), torch.tensor(TILT)
    across, away = x * turn.cos() + z * turn.sin(), z * turn.cos() - x * turn.sin()
    seen = torch.stack([away * tilt.sin() - y * tilt.cos(), across], dim=1)  # down, right: (P, 2)
    seen = (seen - seen.amin(0)) / (seen.amax(0) - seen.amin(0)).amax()
    down, right = (seen * (4 * ROWS - 1)).long().unbind(1)
    dots = torch.zeros(4 * ROWS, 2 * COLUMNS, dtype=torch.long)
    dots[down, right] = 1
    letters = (dots.view(ROWS, 4, COLUMNS, 2) * DOTS.view(1, 4, 1, 2)).sum((1, 3))  # (ROWS, COLUMNS)
    return "\n".join("".join(chr(0x2800 + code) for code in row) for row in letters.tolist() if any(row))


file = sys.argv[1] if len(sys.argv) > 1 else str(CHAIR)
print(draw(lp.read(file).tensor[::3]))

host = lp.load_host("pocket-instructblip")  # frozen; it was trained on pictures and text alone
host.plug(lp.load_lens("pocket-point-cloud"))
prompt = "What is it?"  # or host.default_prompt, for a caption; a cloud has no colours to tell of
print(f"prompt: {prompt}\nanswer: {host.generate(file, prompt)}")
