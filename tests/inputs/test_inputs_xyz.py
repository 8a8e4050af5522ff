import numpy as np
import pytest
from mesh_files import CASES

from lens_plugins.errors import InputError
from lens_plugins.inputs import rows
from lens_plugins.inputs.xyz import read_xyz

POINTS = np.array([[0, 0, 0], [1, 2, 3], [-4, 5.5, 6e-3]])


def read(folder, content: str | bytes) -> np.ndarray:
    (folder / "a.xyz").write_bytes(content.encode() if isinstance(content, str) else content)
    return read_xyz(folder / "a.xyz")


def lines(separator: str, *more: object, comma: bool = False) -> str:
    texts = ("\n".join(separator.join(map(str, (*point, *more))) for point in POINTS.tolist())) + "\n"
    return texts.replace(".", ",") if comma else texts


@pytest.mark.parametrize(
    "content",
    [
        lines(" "),
        lines("\t"),
        lines(","),
        lines(", "),
        lines(";"),
        lines("; "),
        lines(" ", 255, 0, 0),
        lines(",", 255, "Ground"),
        lines(" ", "Ground"),
        lines(",", ""),  # a separator behind every row
        lines(";", comma=True),
        lines("; ", 255, comma=True),
        lines(" ", comma=True),
        lines("\t", 0.5, comma=True),
        "# scanned, in metres; by hand\n" + lines(","),
        "// scanned\n% scanned\n\n" + lines(" ") + "\n# the end\n",
        "\ufeff" + lines(" ").replace("\n", "\r\n"),
        lines(" ").replace("\n", "\r"),
        lines(" ").replace("\n", " # said after\n"),
        lines(" ").replace("\n", "\n\n"),
        "3\n" + lines(" "),
        "//X Y Z R G B\n3\n" + lines(" ", 255, 0, 0),
        "x,y,z\n" + lines(","),
        "X Y Z\n" + lines(" "),
        '"X [m]","Y [m]","Z [m]","Name"\n' + lines(",", "a"),
        "x;y;z\n3\n" + lines(";", comma=True),
        "# x y z are metres\n" + lines(" "),
        lines(" ").replace("0.0 ", "+0e0 "),
    ],
    ids=range(28),
)
def test_ways_to_write_three_points(tmp_path, content):
    assert read(tmp_path, content).tolist() == POINTS.tolist()


@pytest.mark.parametrize(
    "head",
    [
        "id,Z,y,intensity,X\n",
        "# id z Y intensity x\n",
        "// scanned\n//id,Z (m),y (m),i,X (m)\n4\n",
        "id,Z_coord,Y_coord,a,X_coord\n",
        "id,$z,$y,i,$x\n",
        '"id","Points:2","Points:1","x_normal","Points:0"\n',
        "frame,position_z,position_y,i,position_x\n",
        "nx coord,z,y,x coord,x\n",
    ],
)
def test_columns_are_taken_by_name(tmp_path, head):
    content = "".join(f"{i},{i + 30},{i + 20},0.5,{i + 10}\n" for i in range(4))
    assert read(tmp_path, head + content).tolist() == [[i + 10, i + 20, i + 30] for i in range(4)]


def test_text_as_windows_writes_it(tmp_path):
    (tmp_path / "a.xyz").write_bytes(lines(" ").encode("utf-16"))
    assert read_xyz(tmp_path / "a.xyz").tolist() == POINTS.tolist()


@pytest.mark.parametrize("name", ["cloudcompare_header", "csv_header", "decimal_comma_semicolon"])
def test_files_as_programs_write_them(name):
    points = read_xyz(CASES / f"xyz_{name}.xyz")
    assert points.shape == (50, 3)
    assert points.mean(0) == pytest.approx([10, 20, 30], abs=1)
    assert points[0].tolist() == [10.345584, 21.643236, 30.991311]


def test_an_empty_cell_is_refused_with_its_line():
    with pytest.raises(InputError, match=r"xyz_empty_cell\.xyz has an empty cell in line 8"):
        read_xyz(CASES / "xyz_empty_cell.xyz")


@pytest.mark.parametrize("separator", [" ", ",", "; "])
@pytest.mark.parametrize("more", [[], ["Ground"]], ids=["numbers", "words"])
def test_small_chunks_change_nothing(tmp_path, monkeypatch, separator, more):
    expected = np.random.default_rng(0).normal(size=(50, 3))
    content = "".join(separator.join(map(repr, [*row, *more])) + "\n" for row in expected.tolist()).replace("'", "")
    found = read(tmp_path, content)
    monkeypatch.setattr(rows, "_CHUNK", 100)
    assert found.tolist() == read(tmp_path, content).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("C 0 0 0\nH 1 1 1\n", "'C 0 0 0' in line 1, an atom of a molecule; lines of at least three numbers"),
        ("2\nwater\nO 0 0 0\nH 1 1 1\n", "'water' in line 2; lines of at least three numbers"),
        ("2\n\nO 0 0 0\nH 1 1 1\n", "'O 0 0 0' in line 3, an atom of a molecule"),
        ("1 2\n3 4\n", "'1 2' in line 1; lines of at least three numbers"),
        ("1 2 3\n4 5\n", "has 2 columns in line 2, but 3 above"),
        ("1 2 3 255\n4 5 255\n", "has 3 columns in line 2, but 4 above"),
        ("1 2 3\n4 5 6 7\n", "has 4 columns in line 2, but 3 above"),
        ("1,2,3\n,5,6\n", "an empty cell in line 2"),
        ("1,2,3,9\n4,5,,9\n", "an empty cell in line 2"),
        ("1;2;3\n4;;6\n", "an empty cell in line 2"),
        ("1\t2\t3\n4\t\t6\n", "has 2 columns in line 2, but 3 above"),
        ("1,2,3\n4,5\n", "has 2 columns in line 2, but 3 above"),
        ("1, 2, 3\n4 5, , 6\n", "has '4 5' in line 2"),
        ("1,2,3\n4 5 6\n", "has 1 columns in line 2, but 3 above"),
        ("1 2 3\n4,5 6 7\n", "has '4,5' in line 2"),
        ("1 2 3\n4 five 6\n", "has 'five' in line 2"),
        ("1 2 3\n4 1_0 6\n", "has '1_0' in line 2"),
        ("1,5;2.5;3,5\n", "both commas and points in its numbers from line 1 on"),
        ("10,056844,21,043236,30,091311\n", "may mean decimal commas too .a cell begins with 0, in line 1"),
        ("a,b,c\n1,2,3\n", "'a,b,c' in line 1; .*headers that name x, y and z"),
        ("x,y,z\n1,2,3,4\n", "names 3 columns but has 4 in line 2"),
        ("5\n1 2 3\n4 5 6\n", "declares 5 points but has 2; it is truncated"),
        ("1\n1 2 3\n4 5 6\n", "declares 1 points but has 2; give one scan a file"),
        ("2\n1 2 3\n2\n4 5 6\n", "has 1 columns in line 3, but 3 above"),
        (" \n", "has no points"),
        ("# nothing\n", "has no points"),
        (b"\xff\xfe\x00\x01\x00", "is not text"),
        (b"1 2 3\n\0\0\0", "is not text"),
        (b"\x80\x81\x82\n", "in line 1; lines of at least three numbers"),
    ],
)
def test_refusals(tmp_path, content, said):
    with pytest.raises(InputError, match=rf"a\.xyz .*{said}"):
        read(tmp_path, content)


@pytest.mark.parametrize("head", ["# columns: x y z\n", "# Format: x y z i\n", "// x y z i\n"])
def test_a_label_in_a_comment_is_no_column(tmp_path, head):
    assert read(tmp_path, head + "1 2 3 9\n4 5 6 9\n7 8 9 9\n").tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
