"""lens-plugins serve, up to where it would serve."""

import socket

import pytest

from lens_plugins.cli.main import run

pytest.importorskip("fastapi")


def told(capsys, *words):
    code = run(["serve", *words])
    return code, capsys.readouterr().err


def test_a_port_that_is_taken_is_told_at_once(capsys):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        code, err = told(capsys, "--port", str(sock.getsockname()[1]))
    assert code == 2
    assert "cannot be listened at" in err
    assert "another --bind or --port" in err


def test_keys_come_from_files(capsys, tmp_path, monkeypatch):
    empty, key = tmp_path / "empty", tmp_path / "key"
    empty.write_text(" \n")
    key.write_text("secret-key\n")
    code, err = told(capsys, "--api-key-file", str(tmp_path / "none"))
    assert (code, "There is no file" in err) == (2, True)
    code, err = told(capsys, "--api-key-file", str(empty))
    assert (code, "is empty" in err) == (2, True)
    monkeypatch.setenv("LENS_PLUGINS_ADMIN_KEY", "secret-key")
    code, err = told(capsys, "--api-key-file", str(key))
    assert (code, "The admin key is the API key" in err) == (2, True)
    assert "secret-key" not in err


def test_an_unknown_host_is_told(capsys):
    code, err = told(capsys, "--port", "0", "--host", "no-such-host")
    assert code == 2
    assert "no-such-host" in err


def test_an_open_door_is_told(capsys, caplog):
    code, _ = told(capsys, "--port", "0", "--bind", "0.0.0.0", "--host", "no-such-host")
    assert code == 2
    assert "everyone who reaches 0.0.0.0 may ask" in caplog.text


def test_a_host_is_served_once(capsys, pocket):
    code, err = told(capsys, "--port", "0", "--host", "pocket-instructblip", "--host", "pocket-instructblip")
    assert code == 2
    assert "is given twice" in err


def test_a_missing_package_is_told(capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, err = told(capsys, "--port", "0")
    assert code == 2
    assert "lens-plugins[serve]" in err
