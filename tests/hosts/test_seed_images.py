import numpy as np
import pytest
from PIL import Image

from lens_plugins.errors import InputError
from lens_plugins.hosts.seed_llama import images
from lens_plugins.hosts.seed_llama.images import check_target, contact_sheet, numbered, read_notes, save_pictures

NOTES = {"prompt": "ein Stuhl, größer 🎃", "codes": list(range(32)), "seed": 7}


def picture(colour="red", size=(40, 24)):
    return Image.new("RGB", size, colour)


@pytest.mark.parametrize(("suffix", "how"), [(".png", "PNG"), (".jpg", "JPEG"), (".JPEG", "JPEG"), (".webp", "WEBP")])
def test_a_picture_says_what_it_was_made_of(tmp_path, suffix, how):
    path = tmp_path / f"out{suffix}"
    save_pictures({path: (picture(), NOTES)})
    with Image.open(path) as found:
        assert found.format == how
        assert found.size == (40, 24)
        assert np.abs(np.asarray(found, dtype=int) - (255, 0, 0)).max() <= 3
    assert read_notes(path) == NOTES
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_last_picture_failing_leaves_no_file(tmp_path, monkeypatch):
    old = tmp_path / "a.png"
    old.write_bytes(b"before")
    real = images._encoded

    def failing(picture, path, notes):
        if path.name == "b.png":
            raise OSError("disk full")
        return real(picture, path, notes)

    monkeypatch.setattr(images, "_encoded", failing)
    with pytest.raises(InputError, match="cannot be written: disk full"):
        save_pictures({old: (picture(), {}), tmp_path / "b.png": (picture(), {})})
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert old.read_bytes() == b"before"


def test_wrong_targets_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"out\.gif ends in '\.gif'; pictures are written as \.png, \.jpg"):
        check_target(tmp_path / "out.gif")
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        check_target(tmp_path / "nowhere" / "out.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        check_target(tmp_path / "folder.png")


def test_a_picture_of_others_has_no_notes(tmp_path):
    picture().save(tmp_path / "x.png")
    with pytest.raises(InputError, match="does not say what it was made of"):
        read_notes(tmp_path / "x.png")
    (tmp_path / "y.png").write_text("no picture")
    with pytest.raises(InputError, match="cannot be opened as a picture"):
        read_notes(tmp_path / "y.png")


def test_a_sheet_is_near_to_square_in_order():
    colours = ["red", "green", "blue", "black", "white"]
    sheet = contact_sheet([picture(colour) for colour in colours])
    assert sheet.size == (3 * 40 + 2 * 8, 2 * 24 + 8)
    assert sheet.getpixel((5, 5)) == (255, 0, 0)
    assert sheet.getpixel((53, 5)) == (0, 128, 0)
    assert sheet.getpixel((5, 37)) == (0, 0, 0)
    assert sheet.getpixel((101, 37)) == (255, 255, 255)
    assert contact_sheet([picture()]).size == (40, 24)
    with pytest.raises(InputError, match="of 0 pictures"):
        contact_sheet([])


def test_numbered(tmp_path):
    assert numbered(tmp_path / "out.png", 3) == tmp_path / "out-3.png"
