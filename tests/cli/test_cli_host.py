import json

import pytest

from lens_plugins import load_host
from lens_plugins.catalog import HOSTS
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


def test_list_names_every_host(cli):
    ended = cli("host", "list")
    assert [line.split()[:2] for line in ended.out.splitlines()] == [[row.id, row.kind] for row in HOSTS]
    rows = [json.loads(line) for line in cli("host", "list", "--json").out.splitlines()]
    assert [row["source"] for row in rows] == [row.source for row in HOSTS]


@pytest.mark.parametrize("absent", ["--vit", "--instructblip", "--llm"])
def test_convert_names_the_option_whose_file_is_missing(cli, tmp_path, absent):
    (tmp_path / "file.pth").write_bytes(b"x")
    given = {"--vit": tmp_path / "file.pth", "--instructblip": tmp_path / "file.pth", "--llm": tmp_path}
    words = [word for pair in {**given, absent: tmp_path / "gone"}.items() for word in pair]
    ended = cli("host", "convert", tmp_path / "made", *words)
    assert (ended.code, ended.out) == (2, "")
    assert f"'{absent}'" in ended.err
    assert "does not exist" in ended.err
    assert not (tmp_path / "made").exists()


def test_convert_reads_minigpt4s_files(cli, tmp_path):
    from lens_plugins.testing.small_prefix import write_minigpt4_files

    files = write_minigpt4_files(tmp_path / "files")
    words = [word for name, path in files.items() for word in (f"--{name}", path)]
    heads = ("--vit-heads", "2", "--qformer-heads", "2")
    ended = cli("host", "convert", tmp_path / "made", *words, *heads)
    assert (ended.code, ended.out.strip()) == (0, str(tmp_path / "made"))
    report = json.loads(cli("host", "inspect", tmp_path / "made", "--json").out)
    assert report["kind"] == "minigpt4"


def test_convert_wants_one_familys_files(cli, tmp_path):
    (tmp_path / "file.pth").write_bytes(b"x")
    common = ("--vit", tmp_path / "file.pth", "--llm", tmp_path)
    for more in ((), ("--qformer",), ("--projection",), ("--instructblip", "--projection")):
        words = [word for option in more for word in (option, tmp_path / "file.pth")]
        ended = cli("host", "convert", tmp_path / "made", *common, *words)
        assert (ended.code, ended.out) == (2, "")
        assert "Give --instructblip for LAVIS's files, or --qformer and --projection" in ended.err
