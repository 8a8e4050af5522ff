from lens_plugins.bench import pocket_seed


def test_the_tables_are_printed(cli, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(pocket_seed, "run", lambda *args, **options: asked.append((args, options)) or "class right 60%")
    grid = tmp_path / "grid.png"
    ended = cli(
        "bench", "pocket-seed", "--host", "h", "--judge", "j", "--objects", "9", "--grid", str(grid), "--second-judge"
    )
    assert (ended.code, ended.out) == (0, "class right 60%\n")
    ((positional, named),) = asked
    assert positional == ("h", "j")
    assert (named["objects"], named["grid"], named["second_judge"]) == (9, grid, True)


def test_a_grid_that_cannot_be_written_is_refused_first(cli):
    ended = cli("bench", "pocket-seed", "--grid", "grid.gif")
    assert ended.code == 2
    assert ".png" in ended.err
