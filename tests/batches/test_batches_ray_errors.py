"""What is told of Ray's errors, which bring those of actors as text."""

import json
import socket

import pytest

ray = pytest.importorskip("ray", reason="the extra ray is not installed: nothing of it is tested")
from lens_plugins.batches import ray as runs  # noqa: E402
from lens_plugins.errors import ConfigError, InputError, MissingDependency  # noqa: E402


def test_an_error_of_ours_comes_out_as_it_was():
    told = json.dumps(["MissingDependency", "This needs the package 'x'."])
    text = (
        f"Traceback:\n  File\nRuntimeError: {runs._STOPPED}{told}\n\nThe above was the cause of\nUserCodeException: odd"
    )
    with pytest.raises(MissingDependency, match=r"^This needs the package 'x'\.$"), runs._errors():
        raise ray.exceptions.RayError(text)


@pytest.mark.parametrize(("text", "said"), [
    ("The actor died.\nMore of it.", r"Ray ended the run \(The actor died\)\. What was written before is kept"),
    ("Traceback\n  File x\nValueError: odd\nTo change it, configure y", r"ended the run \(ValueError: odd\)\."),
    ("", r"ended the run \(RayError\)\."),
])  # fmt: skip
def test_an_error_of_rays_is_one_line(text, said):
    with pytest.raises(InputError, match=said), runs._errors():
        raise ray.exceptions.RayError(text)


def test_something_that_is_no_ray_is_told_in_time(monkeypatch):
    monkeypatch.setattr(runs, "_ANSWERS_WITHIN", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(InputError, match=r"nothing like Ray answers within 0\.5 seconds"):
            runs._reach(address)
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(InputError, match="nothing like Ray answers"):
            runs._reach("auto")
    for wrong in ("ray://1.2.3.4:1", "here", ":1", "here:x"):
        with pytest.raises(ConfigError, match="give local, auto or HOST:PORT"):
            runs._reach(wrong)


def test_how_many_actors_there_is_room_for():
    for resources, cluster, wanted in (
        ({"CPU": 2.0}, runs.Cluster(), (1, 1)),
        ({"CPU": 16.0}, runs.Cluster(), (12, 4)),
        ({"CPU": 16.0}, runs.Cluster(cpus=4, readers=2), (3, 2)),
        ({"CPU": 32.0, "GPU": 4.0}, runs.Cluster(gpus=0.5), (8, 8)),
        ({}, runs.Cluster(actors=8, readers=3), (8, 3)),
    ):
        assert runs._pools(resources, cluster) == wanted
