import pytest

from lens_plugins.bench import host, lens, memory, scale, seed

CASES = {  # module: words, arguments of its `run`
    lens: ("lens --clouds 2 --points 512 --repeats 1 --threads 1", (2, 512, 1, 1), {}),
    host: (
        "host --host h --lens l --requests 3 --repeats 1 --threads 1",
        ("h", "l"),
        {"requests": 3, "repeats": 1, "threads": 1},
    ),
    memory: ("memory --host h --second s", ("h", "s"), {}),
    scale: (
        "scale --host h --rows 100 --hosts 2 --batch-size 4 --threads 1 --lens audio=a --device cpu",
        ("h",),
        {"lenses": {"audio": "a"}, "device": "cpu", "rows": 100, "batch_size": 4, "hosts": 2, "threads": 1},
    ),
    seed: ("seed --host h --repeats 1 --threads 1", ("h",), {"repeats": 1, "threads": 1}),
}


@pytest.mark.parametrize("module", CASES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_the_table_is_printed(cli, monkeypatch, module):
    words, positional, named = CASES[module]
    asked = []
    monkeypatch.setattr(module, "run", lambda *args, **options: asked.append((args, options)) or "plain 2 s, ours 1 s")
    ended = cli("bench", *words.split())
    assert (ended.code, ended.out) == (0, "plain 2 s, ours 1 s\n")
    for _, options in asked:
        options.pop("note", None)
    assert asked == [(positional, named)]


def test_a_lens_without_a_modality_is_refused(cli):
    ended = cli("bench", "scale", "--lens", "audio")
    assert ended.code == 2
    assert "it must be MODALITY=PATH" in " ".join(ended.err.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--chart", "a.png"], "needs --all"), (["--all", "--chart", "a.gif"], ".png, .svg or .pdf")],
)
def test_a_chart_that_cannot_be_drawn_is_refused_first(cli, arguments, words):
    ended = cli("bench", "pocket", *arguments)
    assert ended.code == 2
    assert words in " ".join(ended.err.split())
