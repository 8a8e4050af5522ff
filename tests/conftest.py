import os
from pathlib import Path

import pytest


def _shared(name: str) -> Path:
    """A folder of the project's shared material: below $LENS_PLUGINS_SHARED, or in a `shared` beside the checkout."""
    roots = [Path(given)] if (given := os.environ.get("LENS_PLUGINS_SHARED")) else _siblings()
    for root in roots:
        if (root / name).is_dir():
            return root / name
    pytest.skip(
        f"no folder {name!r} in {', '.join(map(str, roots))}; set LENS_PLUGINS_SHARED to the folder that has it"
    )


def _siblings() -> list[Path]:
    return [parent.parent / "shared" for parent in Path(__file__).resolve().parents]


@pytest.fixture(scope="session")
def golden() -> Path:
    """Recordings of the original research code."""
    return _shared("golden")


@pytest.fixture(scope="session")
def samples() -> Path:
    """Real files of several modalities."""
    return _shared("samples")


@pytest.fixture(scope="session")
def pocket() -> None:
    """Skips where the shipped host or its language model is not there."""
    from lens_plugins.pocket.fetched import cache_folder
    from lens_plugins.pocket.shipped import shipped_folder

    if shipped_folder("pocket-instructblip") is None:
        pytest.skip("pocket-instructblip is not in this checkout; `make pocket` trains it")
    if not (cache_folder() / "smollm2-135m-instruct").is_dir():
        pytest.skip("the language model is not in the cache; `lens-plugins doctor --fetch` fetches it")
