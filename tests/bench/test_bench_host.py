import pytest
import torch

from lens_plugins import load_host
from lens_plugins.bench import host as bench
from lens_plugins.testing.small import small_lens, write_host


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return load_host(write_host(tmp_path_factory.mktemp("bench"), "instructblip-llama"))


def test_the_table_names_its_conditions_and_every_pair(host):
    before = torch.get_num_threads()
    table = bench.run(host, small_lens("point_cloud"), requests=3, repeats=1, new_tokens=2, threads=1)
    title, head, *rows = table.splitlines()
    assert "3 requests, 2 new tokens, 1 beam, 1 threads, medians of 1" in title
    assert f"torch {torch.__version__}" in title
    assert "one by one" in head
    assert [row[:28].strip() for row in rows] == ["mixed requests", "one input, many questions", "its features alone"]
    assert all(row.endswith("yes") for row in rows)
    assert torch.get_num_threads() == before


def test_requests_are_mixed_where_a_lens_is_plugged(host):
    host.plug(small_lens("point_cloud"))
    kinds = [request.inputs.modality for request in bench.mixed_requests(host, 4, points=50)]
    assert kinds == ["image", "point_cloud", "image", "point_cloud"]
    host.unplug("point_cloud")
    assert {request.inputs.modality for request in bench.mixed_requests(host, 4)} == {"image"}


def test_a_different_answer_is_told(host):
    answers = iter([["a"], ["b"], ["a"], ["a"]])
    pair = bench._in_turn("x", lambda: next(answers), lambda: next(answers), 1)
    assert not pair.same
    assert bench._line(pair).endswith("no")
