"""Files of every modality that ship, and hosts with every lens that ships."""

from pathlib import Path

import lens_plugins as lp
from lens_plugins.pocket.shipped import WEIGHTS

SAMPLES = WEIGHTS / "samples"
CLOUD = Path(__file__).resolve().parents[2] / "demos" / "data" / "chair.ply"
FILES = {
    "audio": f"{SAMPLES}/audio-rooster.ogg",
    "depth": f"depth:{SAMPLES}/depth-chair.png",
    "tactile": f"tactile:{SAMPLES}/tactile-brick.webp",
    "eeg": f"eeg:{SAMPLES}/eeg-car.npy",
    "point_cloud": str(CLOUD),
}


def load_with_lenses(name: str):
    """A shipped host with the lenses of all of `FILES`."""
    host = lp.load_host(name)
    for modality in FILES:
        host.plug(lp.load_lens(f"pocket-{modality.replace('_', '-')}"))
    return host
