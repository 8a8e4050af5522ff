import json

import pytest

from lens_plugins import load_host
from lens_plugins.splice import digest


def test_inspect_counts_every_part(cli, small):
    found = json.loads(cli("host", "inspect", small / "host", "--json").out)
    parts = {part["name"]: part for part in found["parts"]}
    assert set(parts) == {"vision_model", "qformer", "language_projection", "language_model"}
    assert found["bytes"] == sum(part["bytes"] for part in parts.values())
    assert parts["vision_model"]["bytes"] == 4 * parts["vision_model"]["parameters"]
    assert found["to_fetch"] == 0


def test_inspect_as_a_table(cli, small):
    ended = cli("host", "inspect", small / "host", "--dtype", "bfloat16", "--4bit")
    assert ended.code == 0
    assert f"{small / 'host'}: instructblip (instructblip), bfloat16, language model in 4bit" in ended.out
    for part in ("vision_model", "qformer", "language_projection", "language_model", "memory of weights"):
        assert f"\n  {part} " in ended.out


def test_verify_tries_lenses_and_digests(cli, small):
    ended = cli("host", "verify", small / "host", "--lens", f"depth={small / 'depth'}")
    assert ended.code == 0
    assert f"digest {digest(load_host(small / 'host').model)}, unchanged" in ended.out
    assert "\n  depth: fits\n" in ended.out


@pytest.mark.parametrize("json_too", [False, True])
def test_a_lens_that_does_not_fit_is_exit_code_2(cli, small, tmp_path, json_too):
    from lens_plugins.testing.small import small_lens

    small_lens("point_cloud", width=48).save_pretrained(tmp_path)
    words = ["host", "verify", small / "host", "--lens", f"point_cloud={tmp_path}"]
    ended = cli(*words, *(["--json"] if json_too else []))
    assert ended.code == 2
    if json_too:
        assert not json.loads(ended.out)["ok"]
    else:
        assert "! point_cloud: " in ended.out
        assert "width 48" in ended.out
        assert "width 32" in ended.out


def test_a_host_that_is_not_there(cli):
    ended = cli("host", "inspect", "./gone")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
