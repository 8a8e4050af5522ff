"""patches/apply.py and record.py on small made packages."""

import errno
import hashlib
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

PATCHES = Path(__file__).resolve().parents[2] / "patches"
BEFORE = {
    "lavis/a.py": b"one\ntwo\nthree\nfour\n",
    "lavis/deep/b.py": b"x = 1\r\ny = 2",  # a foreign line end and no last newline
    "lavis/c.py": b"keep\n",
}
AFTER = {
    "lavis/a.py": b"zero\none\n2\ntwo and a half\nfour\nfive\n",
    "lavis/deep/b.py": b"x = 1\r\ny = 3",
    "lavis/c.py": b"keep\n",
}


def load(name):
    spec = importlib.util.spec_from_file_location(f"patches_{name}", PATCHES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


apply, recorder = load("apply"), load("record")


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def tree(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def target(tmp_path):
    return write(tmp_path / "site", BEFORE)


@pytest.fixture
def patch(tmp_path, monkeypatch):
    original, changed = write(tmp_path / "original", BEFORE), write(tmp_path / "changed", AFTER)
    folder = tmp_path / "salesforce-lavis-9.9"
    folder.mkdir()
    assert recorder.record(original, changed, folder) == ["lavis/a.py", "lavis/deep/b.py"]
    monkeypatch.setattr(apply, "PATCH", folder)
    return folder


def test_apply_and_undo_are_exact(target, patch, capsys):
    assert apply.main([str(target)]) == 0
    assert tree(target) == AFTER
    assert "2 files patched." in capsys.readouterr().out
    assert apply.main(["--undo", str(target)]) == 0
    assert tree(target) == BEFORE
    assert "2 files back to the original." in capsys.readouterr().out


def test_applying_twice_writes_once(target, patch, capsys):
    apply.main([str(target)])
    stamp = (target / "lavis/a.py").stat().st_mtime_ns
    capsys.readouterr()
    assert apply.main([str(target)]) == 0
    assert "0 files patched, 2 were so already." in capsys.readouterr().out
    assert (target / "lavis/a.py").stat().st_mtime_ns == stamp


def test_undo_of_the_original_writes_nothing(target, patch, capsys):
    assert apply.main(["--undo", str(target)]) == 0
    assert "0 files back to the original, 2 were so already." in capsys.readouterr().out
    assert tree(target) == BEFORE


def test_check_tells_the_state_and_writes_nothing(target, patch, capsys):
    assert apply.main(["--check", str(target)]) == 2
    assert "0 of 2 files of salesforce-lavis 9.9" in capsys.readouterr().out
    apply.main([str(target)])
    capsys.readouterr()
    assert apply.main(["--check", str(target)]) == 0
    assert "2 of 2 files" in capsys.readouterr().out


@pytest.mark.parametrize("undo", [[], ["--undo"]])
def test_another_version_is_refused_whole(target, patch, capsys, undo):
    other = {**BEFORE, "lavis/deep/b.py": b"x = 1\r\ny = 2.5"}
    write(target, other)
    assert apply.main([*undo, str(target)]) == 2
    said = capsys.readouterr().err
    assert "does not hold salesforce-lavis 9.9: 1 of 2 files differ: lavis/deep/b.py (changed)" in said
    assert "pip install --no-deps --force-reinstall salesforce-lavis==9.9" in said
    assert tree(target) == other


def test_a_file_the_user_edited_after_patching_is_refused(target, patch, capsys):
    apply.main([str(target)])
    write(target, {"lavis/a.py": AFTER["lavis/a.py"] + b"mine\n"})
    before = tree(target)
    assert apply.main(["--undo", str(target)]) == 2
    assert "lavis/a.py (changed)" in capsys.readouterr().err
    assert tree(target) == before


def test_a_missing_file_is_named(target, patch, capsys):
    (target / "lavis/a.py").unlink()
    assert apply.main([str(target)]) == 2
    assert "lavis/a.py (missing)" in capsys.readouterr().err


@pytest.mark.parametrize(("argument", "expected"), [([], AFTER), (["--undo"], BEFORE)])
def test_a_run_cut_off_half_way_is_completed(target, patch, argument, expected):
    write(target, {"lavis/a.py": AFTER["lavis/a.py"]})
    assert apply.main([*argument, str(target)]) == 0
    assert tree(target) == expected


@pytest.mark.parametrize("failing_rename", [1, 2])
def test_an_error_while_writing_leaves_every_file_as_it_was(target, patch, monkeypatch, capsys, failing_rename):
    calls, replace = [], os.replace

    def replace_until(source, destination):
        calls.append(destination)
        if len(calls) == failing_rename:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(destination))
        replace(source, destination)

    monkeypatch.setattr(apply.os, "replace", replace_until)
    assert apply.main([str(target)]) == 2
    assert "nothing has changed" in capsys.readouterr().err
    assert tree(target) == BEFORE  # temporary files are gone too


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write into read-only folders")
def test_a_read_only_folder_is_refused(target, patch, capsys):
    (target / "lavis/deep").chmod(0o555)
    assert apply.main([str(target)]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert tree(target) == BEFORE


def test_a_folder_that_refuses_new_files_is_said_and_nothing_changes(target, patch, monkeypatch, capsys):
    def refuse(dir, prefix):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(dir))

    monkeypatch.setattr(apply.tempfile, "mkstemp", refuse)
    assert apply.main([str(target)]) == 2
    assert f"{target / 'lavis'} cannot be written (Permission denied)" in capsys.readouterr().err
    assert tree(target) == BEFORE


def test_permissions_are_kept(target, patch):
    (target / "lavis/a.py").chmod(0o640)
    apply.main([str(target)])
    assert (target / "lavis/a.py").stat().st_mode & 0o777 == 0o640


def test_a_diff_that_breaks_its_promise_is_our_fault_and_writes_nothing(target, patch, capsys):
    diff = patch / "lavis/deep/b.py.diff"
    diff.write_bytes(diff.read_bytes().replace(b"y = 3", b"y = 4"))
    assert apply.main([str(target)]) == 1
    assert "lavis/deep/b.py: the diff does not give the file" in capsys.readouterr().err
    assert tree(target) == BEFORE


@pytest.mark.parametrize(
    ("diff", "said"),
    [
        (b"--- a\n+++ b\nnonsense\n", "Expected a hunk header"),
        (b"--- a\n+++ b\n@@ -1,2 +1 @@\n-one\n+1\n", "starts with '-'"),
        (b"--- a\n+++ b\n@@ -1 +1,2 @@\n-one\n+1\n", "starts with '\\+'"),
    ],
)
def test_a_malformed_diff_is_refused(diff, said):
    with pytest.raises(apply.BrokenPatch, match=said):
        apply.parse(diff)


def test_lines_elsewhere_than_the_diff_says_are_refused():
    hunks = apply.parse(b"--- a\n+++ b\n@@ -2 +2 @@\n-two\n+2\n")
    assert apply.change(b"one\ntwo\n", hunks) == b"one\n2\n"
    with pytest.raises(apply.BrokenPatch, match="Line 2"):
        apply.change(b"two\none\n", hunks)


def test_no_lavis_installed_is_said_with_the_command(monkeypatch, capsys):
    monkeypatch.setattr(apply.importlib.util, "find_spec", lambda name: None)
    assert apply.main([]) == 2
    assert "pip install --no-deps salesforce-lavis==1.0.2" in capsys.readouterr().err


def test_the_installed_package_is_found_without_importing_it(target, patch, monkeypatch):
    write(target, {"lavis/__init__.py": b"raise RuntimeError('imported')\n"})
    monkeypatch.syspath_prepend(target)
    monkeypatch.delitem(sys.modules, "lavis", raising=False)
    assert apply.find_package() == target


def test_the_shipped_patch_has_a_diff_for_every_file_and_no_context():
    patch = apply.Patch.read(PATCHES / "salesforce-lavis-1.0.2")
    assert (patch.package, patch.version) == ("salesforce-lavis", "1.0.2")
    on_disk = {p.relative_to(patch.folder).as_posix().removesuffix(".diff") for p in patch.folder.rglob("*.diff")}
    assert on_disk == set(patch.files)
    assert all(patch.hunks(name) for name in patch.files)  # `parse` refuses lines of context


def test_the_shipped_patch_fits_the_release(tmp_path):
    spec = importlib.util.find_spec("lavis")
    if spec is None:
        pytest.skip("salesforce-lavis is not importable here; `python patches/check.py` runs this where it is")
    root = tmp_path / "copy"
    patch = apply.Patch.read(PATCHES / "salesforce-lavis-1.0.2")
    for name in patch.files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(spec.submodule_search_locations[0]).parent / name, root / name)
    apply.move(root, patch, undo=True)
    originals = tree(root)
    assert {n: hashlib.sha256(c).hexdigest() for n, c in originals.items()} == {
        n: b for n, (b, _) in patch.files.items()
    }
    apply.move(root, patch)
    assert set(apply.survey(root, patch).values()) == {"patched"}
    apply.move(root, patch, undo=True)
    assert tree(root) == originals


def test_the_manifest_names_both_hashes(patch):
    files = json.loads((patch / "manifest.json").read_text())["files"]
    assert files["lavis/a.py"] == {
        "before": hashlib.sha256(BEFORE["lavis/a.py"]).hexdigest(),
        "after": hashlib.sha256(AFTER["lavis/a.py"]).hexdigest(),
    }
