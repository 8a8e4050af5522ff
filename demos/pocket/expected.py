"""What the shipped host and lens gave when they were built, to be compared with what they give today and elsewhere."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from lens_plugins.bench.heldout import open_objects
from lens_plugins.hosts.base import Host
from lens_plugins.hosts.loading import load_host
from lens_plugins.inputs import read
from lens_plugins.lens.loading import load_lens

__all__ = ["answers", "write_expected"]


def answers(host: Host, objects: int = 4) -> dict[str, Tensor]:
    """Class tokens of held-out pictures and clouds: (O, D) each; `host` has its point cloud lens."""
    everything = open_objects()
    shown = everything[:: len(everything) // objects][:objects]
    settings = host.lenses["point_cloud"].config.input
    return {
        "pictures": host.embed([one.pictures[0] for one in shown], "vision"),
        "point_clouds": host.embed([read(one.cloud, "point_cloud", settings) for one in shown], "vision"),
    }


def write_expected(file: Path) -> None:
    """Record them for the host and lens that ship."""
    host = load_host("pocket-instructblip")
    host.plug(load_lens("pocket-point-cloud"))
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: rows.contiguous() for name, rows in answers(host).items()}, file)
