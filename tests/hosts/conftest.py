from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lens_plugins import load_host
from lens_plugins.hosts.base import Host
from lens_plugins.testing.small import HOSTS, IMAGE_SIZE, write_host


@pytest.fixture(scope="session")
def host_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of the small hosts, each written once."""
    folders: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in folders:
            folders[name] = write_host(tmp_path_factory.mktemp("hosts") / name, name)
        return folders[name]

    return folder


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest, host_folder: Callable[[str], Path]) -> Host:
    """Each small host in turn, loaded from its folder."""
    return load_host(host_folder(request.param))


@pytest.fixture
def instructblip(host_folder: Callable[[str], Path]) -> Host:
    return load_host(host_folder("instructblip-llama"))


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(1))
