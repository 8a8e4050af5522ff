import pytest
import torch

from lens_plugins.errors import CheckpointError, InternalError
from lens_plugins.keymap import QV_BIAS, TRANSPOSE, Convert, KeyMap, KeyMismatch, Rename, check_state, split
from lens_plugins.testing import laws

TABLE = KeyMap(
    [
        ("latents", "latents"),
        Rename("blocks.{i<2}.norm.{leaf}", "layers.{i}.norm.{leaf}"),
        Convert(("blocks.{i<2}.q_bias", "blocks.{i<2}.v_bias"), ("layers.{i}.qkv.bias",), QV_BIAS),
        Convert(("blocks.{i<2}.qkv.weight",), tuple(f"layers.{{i}}.{n}.weight" for n in "qkv"), split(3)),
        Convert(("proj",), ("projection.weight",), TRANSPOSE),
        ("blocks.2.**", None),
        ("logit_scale", None),
        ("text.**", None),
    ]
)


def state() -> dict[str, torch.Tensor]:
    made = {"latents": torch.randn(3, 2), "logit_scale": torch.tensor(1.0), "proj": torch.randn(2, 5)}
    for i in range(2):
        made |= {f"blocks.{i}.norm.weight": torch.randn(2), f"blocks.{i}.norm.bias": torch.randn(2)}
        made |= {f"blocks.{i}.q_bias": torch.randn(2), f"blocks.{i}.v_bias": torch.randn(2)}
        made[f"blocks.{i}.qkv.weight"] = torch.randn(6, 2)
    return made | {"blocks.2.norm.weight": torch.randn(2), "text.a.b": torch.randn(1), "text.c": torch.randn(1)}


def test_the_laws_hold():
    laws.there_and_back(TABLE, state())
    laws.no_two_rows_match_one_key(TABLE, state())
    laws.every_row_is_used(TABLE, [state()])


def test_the_laws_can_fail():
    lossy = KeyMap([Convert(("a", "b"), ("c",), QV_BIAS)])
    with pytest.raises(AssertionError, match="rows that match nothing"):
        laws.every_row_is_used(lossy, [{"d": torch.zeros(1)}])
    with pytest.raises(AssertionError, match="changed on the way"):
        laws.there_and_back(KeyMap([Convert(("a",), ("b",), TRANSPOSE)]), {"a": torch.tensor([[float("nan"), 1.0]])})


def test_values_of_converted_tensors():
    given = state()
    out = TABLE.convert(given)
    assert out["layers.1.qkv.bias"].tolist() == [
        *given["blocks.1.q_bias"].tolist(),
        0.0,
        0.0,
        *given["blocks.1.v_bias"].tolist(),
    ]
    assert torch.equal(out["layers.0.k.weight"], given["blocks.0.qkv.weight"][2:4])
    assert torch.equal(out["projection.weight"], given["proj"].T)
    assert not [key for key in out if "text" in key or "2" in key or "logit" in key]


def test_a_key_bias_that_is_not_zero_is_not_dropped_in_silence():
    with pytest.raises(CheckpointError, match="2 of its 2 values"):
        TABLE.inverse().convert({"layers.0.qkv.bias": torch.ones(6)})


def test_all_missing_and_unexpected_names_come_at_once_in_the_files_own_words():
    given, expected = state(), TABLE.convert(state())
    del given["blocks.1.v_bias"], given["latents"], given["proj"]
    given |= {"blocks.3.norm.weight": torch.zeros(2), "blocks.0.norm.weight.extra": torch.zeros(1)}
    with pytest.raises(KeyMismatch, match=r"3 missing.*2 unexpected") as caught:
        TABLE.convert(given, expected, source="x.pt")
    assert {"blocks.1.v_bias", "latents", "proj"} <= set(caught.value.missing)
    assert caught.value.unexpected == ["blocks.0.norm.weight.extra", "blocks.3.norm.weight"]
    assert "x.pt" in str(caught.value)


def test_shapes_are_compared_and_both_are_named():
    expected = TABLE.convert(state())
    given = state() | {"latents": torch.zeros(4, 2)}
    with pytest.raises(KeyMismatch, match=r"latents \(\(4, 2\), expected \(3, 2\)\)"):
        TABLE.convert(given, expected)


def test_what_was_not_expected_is_unexpected():
    expected = TABLE.convert(state())
    del expected["layers.1.norm.bias"]
    with pytest.raises(KeyMismatch, match=r"1 unexpected: blocks\.1\.norm\.bias"):
        TABLE.convert(state(), expected)


def test_an_expected_name_without_a_row_is_missing_by_its_own_name():
    with pytest.raises(KeyMismatch, match=r"1 missing: other\.weight"):
        TABLE.convert(state(), [*TABLE.convert(state()), "other.weight"])


def test_patterns_cover_whole_keys_only():
    table = KeyMap([("a.{i}.weight", "b.{i}.weight"), ("c.{leaf}", "d.{leaf}")])
    for key in ("x.a.1.weight", "a.1.weight.x", "a.one.weight", "a.01.weight", "c.1", "c", "c.x.y"):
        assert table.match({key: torch.zeros(1)}).unexpected == [key]
    assert list(table.convert({"a.10.weight": torch.zeros(1), "c._x": torch.zeros(1)})) == ["b.10.weight", "d._x"]


def test_a_running_number_may_be_bounded():
    assert TABLE.row_of("blocks.1.norm.weight").target == "layers.{i}.norm.{leaf}"
    assert TABLE.row_of("blocks.2.norm.weight").target is None
    assert TABLE.row_of("blocks.12.norm.weight") is None


def test_a_repeated_index_is_the_same_number():
    table = KeyMap([("a.{i}.{i}", "b.{i}")])
    assert table.row_of("a.1.1") is not None
    assert table.row_of("a.1.2") is None


def test_prefixes_on_either_side():
    moved = TABLE.under("visual.", "lens.")
    given = {f"visual.{key}": value for key, value in state().items()}
    assert "lens.layers.0.qkv.bias" in moved.convert(given)
    laws.there_and_back(moved, given)


@pytest.mark.parametrize(
    "rows",
    [
        [("a.{i}.x", "p.{i}"), ("a.0.x", None)],
        [("a.{i<3}.x", "p.{i}"), ("a.{j}.x", None)],
        [("a.**", None), ("a.b.c", "p")],
        [("a.{leaf}", "p.{leaf}"), ("a.b", "q")],
        [("a", "p"), ("b", "p")],
        [("a.{i}", "p")],
        [("a.**", "p.q")],
        [("a*", "p")],
        [("a..b", "p")],
        [("a.{}", "p")],
    ],
)
def test_a_table_that_is_ambiguous_or_malformed_cannot_be_built(rows):
    with pytest.raises(InternalError):
        KeyMap(rows)


def test_tables_that_look_alike_but_are_not_ambiguous():
    KeyMap([("a.{i<3}.x", "p.{i}"), ("a.3.**", None), ("a.{leaf}.x", "q.{leaf}"), ("a.b", "r"), ("a.b.c.d", "s")])


def test_check_state_names_all_three_kinds():
    have = {"a": torch.zeros(2), "b": torch.zeros(1)}
    with pytest.raises(KeyMismatch, match=r"1 missing: c; 1 unexpected: b; 1 of another shape: a") as caught:
        check_state(have, {"a": torch.zeros(3), "c": torch.zeros(1)}, source="model.safetensors")
    assert (caught.value.missing, caught.value.unexpected) == (["c"], ["b"])


def test_long_lists_are_cut_in_the_message_only():
    with pytest.raises(KeyMismatch, match="and 60 more") as caught:
        KeyMap([]).convert({f"k{i}": torch.zeros(1) for i in range(100)})
    assert len(caught.value.unexpected) == 100
