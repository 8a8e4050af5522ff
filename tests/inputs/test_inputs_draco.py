import sys

import numpy as np
import pytest
from gltf_files import Gltf
from mesh_files import TRIANGLES, VERTICES, area, assert_box, read

from lens_plugins.errors import InputError, MissingDependency
from lens_plugins.inputs.draco import read_draco

NAME = "KHR_draco_mesh_compression"


def packed(content: bytes, vertices: int, corners: int, required: bool = True) -> Gltf:
    scene = Gltf(extensionsRequired=[NAME] if required else [])
    scene.tree["accessors"] = [
        {"componentType": 5126, "count": vertices, "type": "VEC3"},
        {"componentType": 5123, "count": corners, "type": "SCALAR"},
    ]
    extension = {NAME: {"bufferView": scene.view(content), "attributes": {"POSITION": 0}}}
    return scene.show({"attributes": {"POSITION": 0}, "indices": 1, "extensions": extension})


def test_without_dracopy_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    with pytest.raises(MissingDependency, match=rf"a\.glb is packed with {NAME}.*pip install 'lens-plugins\[draco\]'"):
        read(tmp_path, "a.glb", packed(b"DRACO", 8, 36).glb())


@pytest.mark.parametrize("level", [0, 1, 7, 10])
def test_packed_boxes(tmp_path, level):
    draco = pytest.importorskip("DracoPy")
    content = draco.encode(
        VERTICES.astype(np.float32), TRIANGLES.astype(np.uint32), quantization_bits=16, compression_level=level
    )
    count = len(draco.decode(content).points)
    triangles, _ = read(tmp_path, "a.glb", packed(content, count, 36).glb())
    assert len(triangles) == 12
    assert area(triangles) == pytest.approx(22, abs=0.01)
    assert triangles.reshape(-1, 3).max(0) == pytest.approx([1, 2, 3], abs=1e-3)
    with pytest.raises(InputError, match=rf"declares 99 values in accessor 0 but has {count}"):
        read(tmp_path, "a.glb", packed(content, 99, 36).glb())


def test_a_plain_copy_beside_the_packed_one_is_taken(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    scene = Gltf()
    primitive = scene.primitive(VERTICES, TRIANGLES)
    extension = {NAME: {"bufferView": scene.view(b"DRACO"), "attributes": {"POSITION": 0}}}
    assert_box(read(tmp_path, "a.glb", scene.show({**primitive, "extensions": extension}).glb())[0])


HEADER = b"DRACO\x02\x02\x01"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"DRACO\x00\x01\x02\x03\x04\x05\x06", "no Draco mesh of version 2"),
        (b"DRACO\x02\x03\x00\x01\x00\x00\xc8\x00\x00\x00\x01", "no Draco mesh of version 2"),  # a point cloud
        (HEADER + b"\x01\x00\x80\x00" + bytes(40), "without metadata"),
        (
            HEADER + b"\x00\x00\x00" + b"\xff\xff\xff\xff\x07\x05" + bytes(40),
            "declares 5 vertices and 2147483647 faces",
        ),
        (HEADER + b"\x01\x00\x00\x00" + b"\xff\xff\x7f\x05" + bytes(40), "declares 2097151 vertices and 5 faces in 56"),
        (HEADER + b"\x01\x00\x00\x00" + b"\xff" * 9, "has a damaged header"),
        (HEADER + b"\x01\x00\x00\x00\x08\x0c" + bytes(40), f"has a damaged mesh of {NAME}"),
    ],
)
def test_damaged_and_lying_data(tmp_path, content, said):
    pytest.importorskip("DracoPy")
    with pytest.raises(InputError, match=rf"a\.glb .*{said}"):
        read_draco(content, {"POSITION": 0}, tmp_path / "a.glb")
