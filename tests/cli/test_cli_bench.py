from lens_plugins.bench import lens


def test_lens_prints_both_in_one_run(cli, monkeypatch):
    asked = []
    monkeypatch.setattr(lens, "run", lambda *numbers: asked.append(numbers) or "plain 2 s, ours 1 s")
    ended = cli("bench", "lens", "--clouds", "2", "--points", "512", "--repeats", "1", "--threads", "1")
    assert (ended.code, ended.out) == (0, "plain 2 s, ours 1 s\n")
    assert asked == [(2, 512, 1, 1)]
