"""Training really teaches, resumes to the bit, and leaves the ViT alone."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch

from lens_plugins.errors import CheckpointError, ConfigError, DoesNotFit, InputError
from lens_plugins.lens.lens import Lens
from lens_plugins.splice.frozen import digest, digests
from lens_plugins.train import TrainConfig, lens_config_for, train_lens
from lens_plugins.train.optimizers import lr_at, optimizers_for, weight_groups

QUICK = TrainConfig(steps=80, batch_size=18, lr=3e-3, views="mean", log_every=5, validate_every=40, checkpoint_every=4)


def quick(**values) -> TrainConfig:
    return TrainConfig.from_dict({**QUICK.to_dict(), **values})


@pytest.fixture(scope="module")
def trained(world, vit, lens_config, text_tower, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained")
    return train_lens(world, vit=vit, lens=lens_config, output=output, config=QUICK, text_tower=text_tower)


def test_a_trained_lens_retrieves_and_a_shuffled_one_does_not(trained, world, vit, text_tower, tmp_path):
    shuffled = Lens(trained.lens.config)
    generator = torch.Generator().manual_seed(0)
    state = {
        name: tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].view_as(tensor)
        for name, tensor in trained.lens.state_dict().items()
    }
    shuffled.load_state_dict(state)
    nothing_learnt = quick(steps=1, lr=1e-12)
    control = train_lens(
        world, vit=vit, lens=shuffled, output=tmp_path / "control", config=nothing_learnt,
        text_head=trained.output / "text_head.safetensors", text_tower=text_tower,
    )  # fmt: skip
    assert trained.metrics["val_text_candidates"] == control.metrics["val_text_candidates"] == 6
    assert trained.metrics["val_text_top1"] >= 0.75
    assert control.metrics["val_text_top1"] <= 0.4
    assert trained.metrics["loss"] < 0.6 * control.metrics["loss"]


def test_muon_moves_the_matrices_of_the_lens_and_nothing_twice(vit, lens_config):
    module = torch.nn.ModuleDict({"lens": Lens(lens_config), "head": torch.nn.Linear(8, 4)})
    adamw, muon = optimizers_for(module, quick(optimizer="muon"), 1e-3)
    moved = [{id(p) for group in one.param_groups for p in group["params"]} for one in (adamw, muon)]
    assert moved[0].isdisjoint(moved[1])
    assert moved[0] | moved[1] == {id(p) for p in module.parameters()}
    assert id(module["head"].weight) in moved[0]
    assert all(p.ndim == 2 for group in muon.param_groups for p in group["params"])


def test_an_embedding_that_knows_something_learns_at_a_share_of_the_rate(vit, lens_config):
    module = torch.nn.ModuleDict({"lens": Lens(lens_config), "head": torch.nn.Linear(8, 4)})
    everything = {id(p) for p in module.parameters()}
    for optimizer in ("adamw", "muon"):
        groups = [
            group
            for one in optimizers_for(module, quick(optimizer=optimizer, embedding_share=0.25), 1e-3)
            for group in one.param_groups
        ]
        shares = {id(p): group["share"] for group in groups for p in group["params"]}
        assert shares.keys() == everything
        inside = {id(p) for p in module["lens"].embedding.parameters()}
        assert {share for key, share in shares.items() if key in inside} == {0.25}
        assert {share for key, share in shares.items() if key not in inside} == {1.0}


def test_a_share_of_nothing_leaves_the_embedding_as_it_was(world, vit, lens_config, text_tower, tmp_path):
    lens = Lens(lens_config)
    before = {name: p.clone() for name, p in lens.named_parameters()}
    config = quick(steps=2, embedding_share=0.0, weight_decay=0.1, ema=0.0)
    train_lens(world, vit=vit, lens=lens, output=tmp_path / "run", config=config, text_tower=text_tower)
    changed = {name for name, p in lens.named_parameters() if not torch.equal(p, before[name])}
    assert changed
    assert not any(name.startswith("embedding.") for name in changed)


def test_muon_leaves_a_lens_without_matrices_to_adamw(vit):
    config = lens_config_for("tactile", vit)
    config = replace(config, embedding=replace(config.embedding, width=vit.width), resampler=None)
    module = torch.nn.ModuleDict({"lens": Lens(config)})
    (adamw,) = optimizers_for(module, quick(optimizer="muon"), 1e-3)  # one kernel and its bias
    assert {id(p) for group in adamw.param_groups for p in group["params"]} == {id(p) for p in module.parameters()}


def test_the_folder_is_a_lens_with_the_fingerprint_of_its_vit(trained, vit):
    loaded = Lens.from_pretrained(trained.output)
    assert digest(loaded) == digest(trained.lens)
    assert (loaded.config.vit.width, loaded.config.vit.positions) == (vit.width, vit.num_patches)
    assert loaded.config.vit.norm_eps == vit.norm_eps
    request = json.loads((trained.output / "train.json").read_text())
    assert request["vit_sha256"] == digest(vit.module)
    assert request["train_pairs"] == 36
    assert request["val_pairs"] == 12


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resumed_weights_are_those_of_a_run_in_one_piece(world, vit, lens_config, text_tower, tmp_path, optimizer):
    config = quick(steps=12, ema=0.9, optimizer=optimizer)

    def run(folder, **kwargs):
        output = tmp_path / folder
        return train_lens(
            world, vit=vit, lens=lens_config, output=output, text_tower=text_tower, config=config, **kwargs
        )

    def pull_the_plug(step: int, row: dict) -> None:
        if step == 7:
            raise KeyboardInterrupt

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("parts", on_step=pull_the_plug)
    seen = []
    resumed = run("parts", resume=True, on_step=lambda step, row: seen.append(step))
    assert seen == list(range(5, 13))
    assert digests(resumed.lens) == digests(whole.lens)
    head = "text_head.safetensors"
    assert (resumed.output / head).read_bytes() == (whole.output / head).read_bytes()
    steps = [json.loads(line)["step"] for line in (resumed.output / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps[:-1])) + steps[-1:]


def test_workers_change_nothing(world, vit, lens_config, tmp_path):
    results = [
        train_lens(
            world, vit=vit, lens=lens_config, output=tmp_path / str(n), config=quick(steps=3, num_workers=n)
        )
        for n in (0, 1)
    ]  # fmt: skip
    assert digests(results[0].lens) == digests(results[1].lens)


def test_the_vit_is_as_it_was(world, vit, lens_config, tmp_path):
    vit = copy.deepcopy(vit)
    vit.module.train().requires_grad_(True)
    before = digests(vit.module)
    result = train_lens(world, vit=vit, lens=lens_config, output=tmp_path, config=quick(steps=3))
    assert digests(vit.module) == before
    assert all(p.grad is None and p.requires_grad for p in vit.module.parameters())
    assert vit.module.training
    assert result.steps == 3


def test_time_is_a_limit_and_the_rest_can_follow(world, vit, lens_config, tmp_path):
    first = train_lens(world, vit=vit, lens=lens_config, output=tmp_path, config=quick(steps=6, max_minutes=1e-9))
    assert (first.stopped, first.steps) == ("minutes", 1)
    Lens.from_pretrained(tmp_path)
    rest = train_lens(world, vit=vit, lens=lens_config, output=tmp_path, config=quick(steps=6), resume=True)
    assert (rest.stopped, rest.steps) == ("steps", 6)


def test_more_steps_on_resume(world, vit, lens_config, tmp_path):
    train_lens(world, vit=vit, lens=lens_config, output=tmp_path, config=quick(steps=4))
    seen = []
    more = train_lens(
        world, vit=vit, lens=lens_config, output=tmp_path, config=quick(steps=9), resume=True,
        on_step=lambda step, row: seen.append(step),
    )  # fmt: skip
    assert (seen, more.steps, more.stopped) == ([5, 6, 7, 8, 9], 9, "steps")
    with pytest.raises(ConfigError, match="after 9 steps, more than the 5 asked for"):
        train_lens(world, vit=vit, lens=lens_config, output=tmp_path, config=quick(steps=5), resume=True)


def test_a_finished_lens_is_replaced_only_on_purpose(world, vit, lens_config, tmp_path):
    def run(**more):
        return train_lens(world, vit=vit, lens=lens_config, output=tmp_path, config=quick(steps=2, seed=1), **more)

    first = digests(run().lens)
    with pytest.raises(ConfigError, match="already holds a lens"):
        run()
    assert digests(Lens.from_pretrained(tmp_path)) == first
    assert digests(run(overwrite=True).lens) == first
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps[0] == 1


def test_a_disk_that_fills_up_ends_the_run_and_keeps_the_last_state(world, vit, lens_config, tmp_path):
    """A limit on the size of files stands for the disk: the checkpoint fits no longer after some steps."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(step, row):
        if step == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))

    try:
        with pytest.raises(CheckpointError, match=r"checkpoint\.pt cannot be written: .*Nothing was changed") as caught:
            train_lens(
                world, vit=vit, lens=lens_config, output=tmp_path, config=quick(steps=20, log_every=20), on_step=fill
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.exit_code == 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    done = train_lens(
        world, vit=vit, lens=lens_config, output=tmp_path, config=quick(steps=6, log_every=20), resume=True
    )  # fmt: skip
    assert done.steps == 6


def test_a_lens_goes_on_from_its_weights(trained, world, vit, tmp_path):
    config = quick(steps=1, lr=1e-7)
    before = trained.lens.state_dict()["resampler.latents"]
    result = train_lens(world, vit=vit, lens=copy.deepcopy(trained.lens), output=tmp_path, config=config)
    assert torch.allclose(result.lens.state_dict()["resampler.latents"], before, atol=1e-5)


@pytest.mark.parametrize("regression", ["none", "cls", "tokens"])
def test_every_regression_runs(world, vit, lens_config, tmp_path, regression):
    config = quick(steps=2, regression=regression, regression_loss="smooth_l1", views="draw")
    result = train_lens(world, vit=vit, lens=lens_config, output=tmp_path, config=config)
    assert ("regression" in result.metrics) == (regression != "none")


def test_bfloat16_on_request(world, vit, lens_config, tmp_path):
    result = train_lens(world, vit=vit, lens=lens_config, output=tmp_path, config=quick(steps=2, precision="bf16"))
    assert all(p.dtype == torch.float32 for p in result.lens.parameters())
    assert result.metrics["loss"] > 0


def test_resume_refuses_another_run(world, vit, lens_config, tmp_path):
    with pytest.raises(CheckpointError, match=r"no .*checkpoint\.pt to resume from"):
        train_lens(world, vit=vit, lens=lens_config, output=tmp_path, config=quick(steps=4), resume=True)
    train_lens(world, vit=vit, lens=lens_config, output=tmp_path, config=quick(steps=4))
    with pytest.raises(ConfigError, match=r"batch_size 18 \(now 12\)"):
        train_lens(world, vit=vit, lens=lens_config, output=tmp_path, config=quick(steps=4, batch_size=12), resume=True)
    other = lens_config.override({"num_groups": 9})
    with pytest.raises(ConfigError, match="another lens"):
        train_lens(world, vit=vit, lens=other, output=tmp_path, config=quick(steps=4), resume=True)


def test_a_lens_for_another_vit_is_refused(world, vit, lens_config, tmp_path):
    wide = {**lens_config.to_dict(), "width": 48, "vit": None}
    wide["resampler"] = {**wide["resampler"], "width": 48}
    with pytest.raises(DoesNotFit, match=r"width 48.*width 32"):
        train_lens(world, vit=vit, lens=type(lens_config).from_dict(wide), output=tmp_path)
    many = {**lens_config.to_dict(), "vit": None}
    many["resampler"] = {**many["resampler"], "latents": 7}
    with pytest.raises(DoesNotFit, match=r"number of 7.*number of 4"):
        train_lens(world, vit=vit, lens=type(lens_config).from_dict(many), output=tmp_path)


def test_unreadable_files_are_named_by_line_before_training(world, vit, lens_config, tmp_path):
    for source in world.parent.iterdir():
        (tmp_path / source.name).symlink_to(source)
    for broken in ("2.npy", "4-1.png"):
        (tmp_path / broken).unlink()
        (tmp_path / broken).write_bytes(b"not this")
    with pytest.raises(
        InputError, match=r"2 bad lines; nothing was trained:\n  line 3: .*2\.npy.*\n  line 5: .*4-1\.png"
    ):
        train_lens(tmp_path / "pairs.jsonl", vit=vit, lens=lens_config, output=tmp_path / "out", config=quick(steps=1))
    assert not (tmp_path / "out" / "metrics.jsonl").exists()


def test_values_that_do_not_go_together(world, vit, lens_config, text_tower, tmp_path):
    def run(manifest=world, **kwargs):
        train_lens(manifest, lens=lens_config, output=tmp_path, config=quick(steps=1), **kwargs)

    with pytest.raises(ConfigError, match="A dict has no frozen ViT"):
        run(vit={})
    with pytest.raises(ConfigError, match=r"shape \(2,\) for 6 texts"):
        run(vit=vit, text_tower=lambda texts: torch.zeros(2))
    only = tmp_path / "one.jsonl"
    line = json.loads(world.read_text().splitlines()[0])
    line = {**line, "path": str(world.parent / line["path"]), "image": None}
    only.write_text(json.dumps(line))
    with pytest.raises(ConfigError, match="1 training pairs"):
        run(vit=vit, manifest=only)
    only.write_text((json.dumps(line) + "\n") * 2)
    with pytest.raises(InputError, match=r"(?s)2 bad lines.*line 1: no image"):
        run(vit=vit, manifest=only)
    only.write_text((json.dumps({**line, "image": str(world.parent / "0-0.png"), "text": None}) + "\n") * 2)
    with pytest.raises(ConfigError, match="none of the 2 pairs"):
        run(vit=vit, manifest=only, text_tower=text_tower)


def test_texts_alone_can_teach(world, vit, lens_config, text_tower, tmp_path):
    lines = [json.loads(line) for line in world.read_text().splitlines()]
    lines = [{**line, "path": str(world.parent / line["path"]), "image": None} for line in lines]
    manifest = tmp_path / "texts.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = train_lens(manifest, vit=vit, lens=lens_config, output=tmp_path, config=QUICK, text_tower=text_tower)
    assert result.metrics["val_text_top1"] >= 0.75
    assert result.metrics["regression"] == 0


def test_a_loss_that_is_no_number_stops_the_run(world, vit, lens_config, tmp_path):
    lens = Lens(lens_config)
    with torch.no_grad():
        lens.resampler.latents.fill_(float("nan"))
    with pytest.raises(ConfigError, match=r"The loss is nan at step 1; lower lr, which is 0\.003"):
        train_lens(world, vit=vit, lens=lens, output=tmp_path, config=quick(steps=5))


def test_learning_rate_rises_and_falls():
    config = TrainConfig(steps=100, warmup_steps=10)
    rates = [lr_at(step, config, 1.0) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.001
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_decay_spares_vectors_latents_and_positions(lens_config):
    lens = Lens(lens_config)
    decayed, spared = weight_groups(lens, 0.2)
    names = {id(p): name for name, p in lens.named_parameters()}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.2, 0.0)
    assert len(decayed["params"]) + len(spared["params"]) == len(names)
    assert {names[id(p)] for p in spared["params"] if p.ndim > 1} == {"resampler.latents"}
    assert all(names[id(p)].endswith("weight") for p in decayed["params"])
