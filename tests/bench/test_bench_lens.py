import torch

from lens_plugins.bench import lens as bench
from lens_plugins.bench.lens import PlainPointEmbedding
from lens_plugins.lens.embeddings import PointConfig, PointEmbedding
from lens_plugins.lens.perceiver import PerceiverConfig

CONFIG = PointConfig(24, 16, 8, 12, 8)
RESAMPLER = PerceiverConfig(32, 6, 24, 2, 1, 1, 16, 2, 16)


def trained_like(embedding: PointEmbedding) -> PointEmbedding:
    """Statistics and affine parameters that are not the initial ones."""
    torch.manual_seed(1)
    for norm in (embedding.encoder.lift_norm, embedding.encoder.mix_norm):
        for tensor in norm.state_dict().values():
            tensor.copy_(torch.rand_like(tensor) + 0.2)
    return embedding.eval().requires_grad_(False)


def test_plain_and_fast_give_the_same_numbers():
    ours = trained_like(PointEmbedding(CONFIG))
    clouds = torch.randn(3, 300, 3)
    plain = PlainPointEmbedding(ours)
    for mine, theirs in zip(ours(clouds), plain(clouds)):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_the_plain_algorithm():
    ours = trained_like(PointEmbedding(CONFIG))
    plain = PlainPointEmbedding(ours)
    clouds = torch.randn(2, 100, 3)
    for module in (ours, plain):
        module.requires_grad_(True)
        module(clouds)[0].square().sum().backward()
    for norm, theirs in ((ours.encoder.lift_norm, plain.first[1]), (ours.encoder.mix_norm, plain.second[1])):
        torch.testing.assert_close(norm.weight.grad, theirs.weight.grad, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(norm.bias.grad, theirs.bias.grad, atol=1e-4, rtol=1e-3)
    first = plain.first[0].weight.grad[..., 0]
    torch.testing.assert_close(ours.encoder.lift.weight.grad, first, atol=1e-4, rtol=1e-3)


def test_every_part_is_measured_against_the_same_numbers():
    rows = bench.measure_points(CONFIG, clouds=2, points=200, repeats=1)
    rows.append(bench.measure_resampler(RESAMPLER, batch=2, tokens=16, repeats=1))
    assert [row.name for row in rows][-2:] == ["whole tokenizer", "resampler, 2 layer"]
    assert all(row.difference < 1e-4 for row in rows)
    assert all(row.plain_s > 0 and row.ours_s > 0 for row in rows)


def test_the_table_names_the_machine_and_the_ratio():
    threads = torch.get_num_threads()
    table = bench.run(clouds=1, points=64, repeats=1, threads=1, config=CONFIG, resampler=RESAMPLER)
    assert torch.get_num_threads() == threads
    assert f"torch {torch.__version__}" in table
    assert table.count("x") >= 10
    assert len(table.splitlines()) == 7
