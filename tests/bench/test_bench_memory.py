import torch

from lens_plugins.bench import memory
from lens_plugins.bench.memory import Growth
from lens_plugins.testing.small import small_lens, write_host
from lens_plugins.testing.small_seed import write_seed_host


def test_shared_weights_count_once():
    one, other = torch.nn.Linear(10, 10), torch.nn.Linear(10, 10)
    other.weight = one.weight
    assert memory.weights_bytes([one]) == 440
    assert memory.weights_bytes([one, other]) == 480


def test_what_is_loaded_is_counted(tmp_path):
    host = write_host(tmp_path / "host", "instructblip-llama")
    lenses = [small_lens(name) for name in ("depth", "audio")]
    for lens in lenses:
        lens.save_pretrained(tmp_path / lens.modality)
    found = memory.lenses_growth(str(host), [str(tmp_path / lens.modality) for lens in lenses])
    assert found.name == "2 lenses"
    assert found.weights == memory.weights_bytes(lenses)


def test_a_second_host_counts_its_own_weights(tmp_path):
    first = write_host(tmp_path / "host", "instructblip-llama")
    second = write_seed_host(tmp_path / "seed")
    found = memory.second_host_growth(str(first), str(second), False)
    assert found.name == f"{second}, with a ViT of its own"
    loaded = memory.load_host(second)
    assert found.weights == memory.weights_bytes([loaded.model])


def test_every_row_is_measured_in_a_process_of_its_own(monkeypatch):
    asked = []
    monkeypatch.setattr(
        memory, "_apart", lambda call, *more: asked.append((call, *more)) or Growth("x", 10**6, 2 * 10**6)
    )
    lines = memory.run("h", "s").splitlines()
    assert asked == [
        (memory.lenses_growth, "h"),
        (memory.second_host_growth, "h", "s", False),
        (memory.second_host_growth, "h", "s", True),
    ]
    assert [line.split() for line in lines[2:]] == [["x", "1.0", "MB", "2.0", "MB", "0.50x"]] * 3
    assert lines[0].startswith("beside h; ")
