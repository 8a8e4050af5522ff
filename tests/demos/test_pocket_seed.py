"""The recipe of the pocket SEED-LLaMA, from random pictures to a host that draws: a step or two of every stage."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from pocket.dialogue import Exchange
from pocket.lenses import pocket_vit
from pocket.packs import Pictures
from pocket.seed import dialogue, edits, language, scenes, stages, tokenizer, unclip
from pocket.seed import onlookers as onlookers_
from pocket.seed.build import parts_digest
from pocket.seed.sizes import PACKS, Places, Sizes
from safetensors.torch import save_file

import lens_plugins as lp
from lens_plugins.errors import InputError
from lens_plugins.hosts.seed_llama.detokenizer import Detokenizer
from lens_plugins.hosts.seed_llama.prompt import STYLES
from lens_plugins.hosts.seed_llama.vocabulary import CODE

THINGS = ("chair", "lamp", "sofa")
TINY = Sizes(
    groups=8,
    more_groups=5,
    queries=4,
    codes=32,
    code_width=4,
    qformer_width=16,
    qformer_layers=2,
    decoder_layers=1,
    down=(8, 4),
    embedding=12,
    tokenizer_steps=12,
    tokenizer_batch=8,
    way_back_steps=2,
    way_back_batch=8,
    autoencoder_width=4,
    latent_channels=4,
    autoencoder_steps=3,
    autoencoder_batch=2,
    unet_widths=(8, 16),
    unet_layers=(1, 1),
    unet_steps=2,
    unet_close=2,
    unet_batch=4,
    norm_groups=4,
    language_width=32,
    language_layers=1,
    language_heads=2,
    vocabulary=400,
    language_steps=3,
    language_batch=4,
    held_out=2,
    check_every=6,
)


def texts(names):
    """Stands in for the sentence encoder."""
    g = torch.Generator().manual_seed(len(names))
    return torch.nn.functional.normalize(torch.randn(len(names), 12, generator=g), dim=-1)


class Network(torch.nn.Module):
    """Stands in for an ImageNet network: three levels and what is left of them."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.convs = torch.nn.ModuleList(torch.nn.Conv2d(i, o, 4, stride=4) for i, o in ((3, 6), (6, 8)))
        self.last = torch.nn.Conv2d(8, 10, 1)
        self.requires_grad_(False)

    def levels(self, rgb):
        fine = self.convs[0](rgb)
        coarse = self.convs[1](fine.relu())
        return [fine, coarse], self.last(coarse.relu()).mean((2, 3))


def write_packs(folder, seed=0):
    rng = np.random.default_rng(seed)
    for pack in PACKS:
        rows = [
            {
                "object": f"{pack}-{i}", "class": thing, "name": thing, "caption": f"a red {thing}", "view": 0,
                "split": "test" if held else "train", "source": pack, "licence": "CC0-1.0",
            }
            for i, (thing, held) in enumerate((thing, held) for thing in THINGS for held in (False, True))
        ]  # fmt: skip
        (folder / pack).mkdir(parents=True)
        pictures = rng.integers(0, 256, (len(rows), 128, 128, 4)).astype(np.uint8)
        pictures[:, :24, :, 3] = 0
        np.save(folder / pack / "images.npy", pictures)
        (folder / pack / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_instructblip(folder):
    """Of the host that ships only what the recipe reads: a small ViT and its text head."""
    from transformers import InstructBlipConfig, InstructBlipVisionConfig
    from transformers.models.instructblip.modeling_instructblip import InstructBlipVisionModel

    shape = InstructBlipVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=112, patch_size=14,
        layer_norm_eps=1e-6, initializer_range=0.1,
    )  # fmt: skip
    InstructBlipConfig(vision_config=shape.to_dict()).save_pretrained(folder)
    torch.manual_seed(0)
    state = {f"vision_model.{name}": t.half() for name, t in InstructBlipVisionModel(shape).state_dict().items()}
    save_file(state, folder / "model.safetensors")
    (folder / "text_head").mkdir()
    save_file(
        {"weight": torch.randn(12, 16).half(), "bias": torch.zeros(12).half()},
        folder / "text_head" / "text_head.safetensors",
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Every stage but the last run once."""
    folder = tmp_path_factory.mktemp("seed")
    made = Places(folder / "work", folder / "target", TINY)
    write_packs(made.work / "pack")
    write_instructblip(made.instructblip)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stages, "_networks", lambda: [Network(0), Network(1)])
        for name in ("features", "tokenizer", "autoencoder", "unclip", "language", "build"):
            stages.STAGES[name](made, texts)
    return made


@pytest.fixture(scope="module")
def host(places):
    return lp.load_host(places.host)


@pytest.fixture(scope="module")
def picture():
    return Image.fromarray(np.random.default_rng(5).integers(0, 256, (112, 112, 3)).astype(np.uint8))


def test_a_picture_becomes_codes_and_a_picture_again(host, picture):
    codes = host.encode_codes([picture])
    assert codes.shape == (1, TINY.queries)
    drawn = host.decode_codes(codes, seed=3, steps=2)
    assert [p.size for p in drawn] == [(TINY.pixels, TINY.pixels)]
    assert drawn[0].tobytes() == host.decode_codes(codes, seed=3, steps=2)[0].tobytes()


def test_it_imagines_edits_and_combines(host, picture):
    for inputs, prompt in ((picture, None), (picture, "Make it red."), ([picture, picture], None)):
        (reply,) = host.imagine(inputs, prompt, steps=2)
        assert reply.images[0].size == (TINY.pixels, TINY.pixels)
        assert reply.problems == ()


def test_it_describes(host, picture):
    assert isinstance(host.generate(picture, max_new_tokens=4).text, str)


def test_a_lens_of_another_host_of_the_same_vit_plugs_in(host):
    from lens_plugins.lens.lens import Lens
    from lens_plugins.train import lens_config_for

    settings = {"num_groups": 8, "group_size": 4, "encoder_dim": 16}
    lens = Lens(lens_config_for("point_cloud", host.vit, settings)).eval()
    host.plug(lens)
    cloud = lp.read(np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32), "point_cloud", lens.config.input)
    assert host.imagine(cloud, steps=1)[0].images
    host.unplug("point_cloud")


def test_the_digest_is_that_of_what_is_loaded(places, host):
    notes = json.loads((places.host / "lens_plugins.json").read_text())
    pipeline = host.detokenizer.pipeline
    assert notes["digest"] == parts_digest(host.model.tokenizer, host.language_model, pipeline)
    assert "| sweethome | CC0-1.0 | 3 |" in (places.host / "LICENCES.md").read_text()


def test_weights_are_half_precision_and_name_no_folder(places):
    from safetensors.torch import load_file

    files = list(places.host.rglob("*.safetensors"))
    assert len(files) == 6
    kinds = {t.dtype for file in files for name, t in load_file(file).items() if "position_ids" not in name}
    assert kinds == {torch.float16}
    assert not [f for f in places.host.rglob("*.json") if str(places.work.parent) in f.read_text()]


def test_the_training_way_of_embedding_is_the_hosts(places):
    pupil = stages._code_pupil(places, texts)
    codes = torch.randint(TINY.codes, (2, TINY.queries), generator=torch.Generator().manual_seed(0))
    found = pupil.embeds(pupil.tokenizer.codebook(codes))
    torch.testing.assert_close(found, pupil.tokenizer.image_embeds(codes), atol=0.05, rtol=0.05)  # bfloat16 in training


def test_a_finished_stage_is_not_run_again(places):
    before = torch.load(places.home / "tokenizer" / "final.pt", weights_only=True)
    stages.STAGES["tokenizer"](places, texts)
    after = torch.load(places.home / "tokenizer" / "final.pt", weights_only=True)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_stage_that_lacks_another_says_which(tmp_path, places):
    bare = Places(tmp_path, places.target, TINY)
    (tmp_path / "pack").symlink_to(places.work / "pack")
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed" / "scenes").symlink_to(places.home / "scenes")
    with pytest.raises(InputError, match="run the stage 'features' first"):
        stages.STAGES["tokenizer"](bare, texts)


def test_the_way_back_leaves_codes_as_they_are(places):
    pupil = stages._code_pupil(places, texts, stages._tokenizer(places))
    shown, judge = stages._scenes(places), stages._judge(places, THINGS, texts)
    held = stages._held(places, shown)
    before = {name: tensor.clone() for name, tensor in pupil.tokenizer.state_dict().items()}
    reading = stages._reading(places, texts, judge)
    (places.home / "way_back" / "checkpoint.pt").unlink()
    stages.train_way_back(pupil, stages._codes(places), reading, held, judge, TINY, places.home / "way_back")
    after = pupil.tokenizer.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith(("from_code.", "positions", "decoder.", "down.", "projection.")) for name in moved)


def test_scenes_go_on_where_they_stopped(tmp_path, places, monkeypatch):
    pictures, vit = Pictures.open(places.packs), stages.pocket_vit(places.instructblip)
    whole = scenes.Scenes.make(pictures, vit, tmp_path / "whole", 4, batch=2)
    drawn = scenes.draw_scenes

    def cut(pictures, plan, groups):
        if groups[0] == 2:
            raise KeyboardInterrupt
        return drawn(pictures, plan, groups)

    monkeypatch.setattr(scenes, "draw_scenes", cut)
    with pytest.raises(KeyboardInterrupt):
        scenes.Scenes.make(pictures, vit, tmp_path / "cut", 4, batch=2)
    monkeypatch.setattr(scenes, "draw_scenes", drawn)
    again = scenes.Scenes.make(pictures, vit, tmp_path / "cut", 4, batch=2)
    assert np.array_equal(whole.rgb, again.rgb)
    assert np.array_equal(whole.features, again.features)


def test_no_scene_shows_a_held_out_object(places):
    shown = stages._scenes(places)
    assert {shown.row(group)["split"] for group in range(len(shown.plan))} == {"train"}


@pytest.mark.parametrize("edit", edits.EDITS, ids=lambda edit: f"{edit.kind}-{edit.name}")
def test_an_edit_shows(edit):
    thing = torch.zeros(4, 48, 48)
    thing[:, 16:32, 16:32] = torch.tensor([0.3, 0.8, 0.8, 1.0]).view(4, 1, 1)
    before = edits.plain_scene(thing, 1.0)
    after = edits.edit_scene(thing, edit, 1.0, torch.Generator().manual_seed(0))
    assert after.shape == (3, 48, 48)
    assert 0 <= after.min() <= after.max() <= 1
    inside, outside = (after - before).abs()[:, 16:32, 16:32].mean(), (after - before).abs()[:, :16].mean()
    assert (inside > 0.1) == (edit.kind == "tint") or edit.kind == "style"
    assert (outside > 0.1) == (edit.kind != "tint")


def test_the_image_embedding_does_not_hang_on_signs(places, monkeypatch):
    shown = stages._scenes(places)
    made = stages.ImageEmbedding.fit(shown, TINY.embedding)
    found = torch.linalg.eigh

    def other(matrix):
        values, vectors = found(matrix)
        return values, -vectors

    monkeypatch.setattr(torch.linalg, "eigh", other)
    again = stages.ImageEmbedding.fit(shown, TINY.embedding)
    assert torch.equal(made.basis, again.basis)
    assert torch.equal(made.basis, stages._embedding(places).basis)


def test_means_find_clusters():
    g = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0], [10, 0], [0, 10]])
    vectors = centres.repeat(50, 1) + 0.1 * torch.randn(150, 2, generator=g)
    found = tokenizer.kmeans(vectors, 3, torch.Generator().manual_seed(3))
    assert torch.cdist(centres, found).min(1).values.max() < 0.2
    assert tokenizer.kmeans(vectors[:2], 5, g).shape == (5, 2)


def test_glimpses_keep_class_token_and_mean():
    features = torch.randn(3, 9, 6, generator=torch.Generator().manual_seed(0))
    kinds = set()
    for seed in range(40):
        seen = tokenizer.glimpse(features, torch.Generator().manual_seed(seed))
        kinds.add(seen.shape[1])
        assert (seen[:, 0] - features[:, 0]).abs().max() < 1.2  # up to the noise
    assert max(kinds) == 9
    assert len(kinds) > 2


def test_dead_codes_are_revived(places):
    pupil = stages._code_pupil(places, texts)
    vectors = torch.randn(2, TINY.queries, TINY.code_width)
    pupil.used[:5] = 0.0
    assert pupil.revive(vectors, torch.Generator().manual_seed(0)) == 5
    distance = torch.cdist(pupil.tokenizer.codebook.weight[:5], vectors.flatten(0, 1)).min(1).values
    assert distance.max() == 0


def test_the_schedule_arrives_at_what_the_diffusion_predicts(places, monkeypatch):
    pipeline = stages._pipeline(places, stages._autoencoder(places), stages._scenes(places))
    Detokenizer(pipeline)
    wanted = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)) + 3  # bright as a whole
    share = pipeline.scheduler.alphas_cumprod

    def velocity(noisy, time, **_):
        a = share[time]
        noise = (noisy - a.sqrt() * wanted) / (1 - a).sqrt()
        return (a.sqrt() * noise - (1 - a).sqrt() * wanted,)

    monkeypatch.setattr(pipeline.unet, "forward", velocity)
    embeds = torch.zeros(2, TINY.embedding)
    drawn = pipeline(
        image_embeds=embeds, prompt=["", ""], num_inference_steps=20, guidance_scale=1.0, output_type="latent"
    )
    torch.testing.assert_close(drawn.images, wanted, atol=1e-3, rtol=1e-3)


def test_training_gives_the_diffusion_what_the_pipeline_gives_it(places):
    pipeline = stages._pipeline(places, stages._autoencoder(places), stages._scenes(places))
    embeds = torch.randn(64, TINY.embedding, generator=torch.Generator().manual_seed(0))
    made, told = unclip._condition(pipeline, embeds, torch.Generator().manual_seed(0))
    asked = pipeline.noise_image_embeddings(embeds, 0, noise=torch.zeros_like(embeds))
    assert made.shape == asked.shape == (64, 2 * TINY.embedding)
    clear = (made[:, TINY.embedding :] == asked[:, TINY.embedding :]).all(1)  # level 0
    assert 20 <= clear.sum() <= 50
    apart = (made - asked)[clear, : TINY.embedding] / pipeline.image_normalizer.std
    assert apart.abs().max() < 0.2
    absent = (made == 0).all(1)
    assert 1 <= absent.sum() <= 15
    assert ((told == 0) == absent).all()


@pytest.fixture(scope="module")
def drawing(places):
    """The pipeline and who looks at what it draws."""
    shown, vae = stages._scenes(places), stages._autoencoder(places)
    judge = stages._judge(places, THINGS, texts)
    onlookers = [onlookers_.Onlooker(Network(seed), shown) for seed in (0, 1)]
    reading = stages._reading(places, texts, judge)
    eye = unclip.Eye.of(pocket_vit(places.instructblip), shown, reading, onlookers)
    return stages._pipeline(places, vae, shown), eye, shown.take(np.arange(4))


def encoded(vae, look):
    with torch.no_grad():
        rgb = scenes.resized(look.rgb, TINY.pixels) * 2 - 1
        return vae.encode(rgb).latent * vae.config.scaling_factor


def test_the_last_run_learns_from_what_the_vit_sees(drawing):
    """A scene's own latents are nearer than another's, and the gradient arrives at the latents alone."""
    pipeline, eye, look = drawing
    latents = encoded(pipeline.vae, look).requires_grad_(True)
    asked = look.features[:, 0]
    own = eye.apart(unclip._decoded(pipeline, latents), look, asked)
    other = eye.apart(unclip._decoded(pipeline, latents.roll(1, 0)), look, asked)
    for near, far in zip(own, other):
        assert near.shape == (4,)
        assert near.mean() < far.mean()
        (grad,) = torch.autograd.grad(near.sum(), latents, retain_graph=True)
        assert grad.abs().amax((1, 2, 3)).min() > 0
    assert all(p.grad is None for p in (*pipeline.vae.parameters(), *eye.vit.blocks.parameters()))
    seen, said = eye.apart(unclip._decoded(pipeline, latents), look, asked.roll(1, 0))
    assert torch.equal(seen, own[0])  # the picture is that of the scene,
    assert said.mean() > own[1].mean()  # what it says that of the condition


def test_a_scene_is_unlike_another_and_like_itself(drawing):
    _, eye, look = drawing
    for onlooker in eye.onlookers:
        seen = onlooker(look.rgb, 96)
        assert [level.shape[1:] for level in seen.levels] == [(6, 24, 24), (8, 6, 6)]
        torch.testing.assert_close(seen.levels[0].norm(dim=1), torch.ones(4, 24, 24))
        assert onlookers_.unlike(seen, seen).abs().max() < 1e-5
        assert onlookers_.unlike(seen, onlooker(look.rgb.roll(1, 0), 96)).min() > 0.01
        assert torch.equal(seen.part(slice(1, 3)).pooled, seen.pooled[1:3])


def test_a_critic_learns_what_is_a_scene_and_what_was_asked_for(drawing):
    _, eye, look = drawing
    onlooker = eye.onlookers[0]
    embeds = torch.randn(4, TINY.embedding, generator=torch.Generator().manual_seed(0))
    true, drawn = onlooker(look.rgb, 96), onlooker(scenes.resized(scenes.resized(look.rgb, 8), 112), 96)
    torch.manual_seed(0)
    critic = onlookers_.Critic(true, embeds)
    optimizer = torch.optim.AdamW(critic.parameters(), lr=1e-2)
    for _ in range(150):
        loss = critic.own_loss(true, drawn, embeds)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scene, other = critic.judge(critic.read(true), embeds), critic.judge(critic.read(true), embeds.roll(1, 0))
    assert scene.mean() > other.mean() + 0.2
    assert critic.against(true, embeds).mean() < critic.against(drawn, embeds).mean() - 0.2


def test_opinions_move_the_drawing_and_not_the_critic(drawing):
    _, eye, look = drawing
    onlooker = eye.onlookers[0]
    embeds = torch.randn(4, TINY.embedding, generator=torch.Generator().manual_seed(0))
    rgb = look.rgb.clone().requires_grad_(True)
    seen = onlooker(rgb, 96)
    critic = onlookers_.Critic(seen, embeds)
    critic.against(seen, embeds).sum().backward()
    assert rgb.grad.abs().sum() > 0
    assert all(p.grad is None and p.requires_grad for p in critic.parameters())
    rgb.grad = None
    critic.own_loss(onlooker(look.rgb, 96), seen, embeds).backward()
    assert rgb.grad is None
    assert all(p.grad is not None for p in critic.parameters())


def test_the_decoder_learns_along_and_the_encoder_stays(places):
    before, after = (stages._load(places.home / name / "final.pt", "x") for name in ("autoencoder", "unclip/vae"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("decoder.") for name in moved)


def test_drawings_under_way_are_the_samplers_own(drawing, monkeypatch):
    """With a U-Net whose velocities lead to one picture, told, and to nothing, untold, guidance doubles the picture."""
    pipeline, *_ = drawing
    wanted = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    share = pipeline.scheduler.alphas_cumprod

    def velocity(noisy, time, class_labels, **_):
        a = share[time].view(-1, 1, 1, 1)
        goal = torch.cat([wanted, torch.zeros_like(wanted)])
        assert (class_labels[:3] == 1).all()
        assert (class_labels[3:] == 0).all()
        return type("Out", (), {"sample": (a.sqrt() * noisy - goal) / (1 - a).sqrt()})

    monkeypatch.setattr(pipeline.unet, "forward", velocity)
    noise = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    time = torch.tensor([0, 400, 990])
    condition = torch.ones(3, 2 * TINY.embedding)
    noisy = unclip._under_way(pipeline, noise, time, condition, torch.Generator().manual_seed(2))
    signal, spread = unclip._shares(pipeline, time)
    torch.testing.assert_close(noisy[0], unclip.GUIDANCE * wanted[0], atol=0.05, rtol=0.05)
    rest = (noisy - signal * unclip.GUIDANCE * wanted) / spread
    assert torch.nn.functional.cosine_similarity(rest[1:].flatten(1), noise[1:].flatten(1)).min() > 0.7


def test_what_is_said_is_nearest_of_the_own_tokens():
    g = torch.Generator().manual_seed(0)
    head, names = torch.nn.Linear(6, 12), torch.nn.functional.normalize(torch.randn(9, 12, generator=g), dim=-1)
    reading = stages.Reading(head, (names, 30.0), (names[:3], 40.0))
    own = torch.randn(4, 6, generator=g)
    assert reading.apart(own, own).abs().max() < 1e-5
    assert (reading.apart(own + 0.1, own) < reading.apart(own.roll(1, 0), own)).all()
    single = sum(stages.Reading(head, part).apart(own.roll(1, 0), own) for part in reading.lists)
    torch.testing.assert_close(reading.apart(own.roll(1, 0), own), single)


def test_sequences_are_what_the_host_asks(places, host):
    shown = stages._scenes(places)
    style = STYLES["vicuna"]
    codes = stages._codes(places).codes
    talk = dialogue.Talk(shown.pictures, shown.plan, codes, style, Exchange(list(THINGS)), "</s>")
    rng = np.random.default_rng(0)
    said = [talk.draw(rng) for _ in range(60)]
    assert all(one.prompt.startswith("USER: ") and one.prompt.endswith("\nASSISTANT:") for one in said)
    pictures = [one for one in said if one.reply.startswith("<img>")]
    assert all(one.reply.endswith("</img></s>") for one in pictures)
    assert all(one.reply[0] == " " for one in said if one not in pictures)
    assert {one.prompt.count("<img>") for one in pictures} == {0, 1, 2}
    assert any(one.prompt.count("USER") == 2 for one in pictures)  # a change of what was drawn before
    both = talk.both(0, rng)
    first, second = (talk.caption(g, scenes.PLAIN) for g in (0, int(shown.plan.partner[0])))
    assert talk.caption(0, scenes.PAIR) == f"{first} and {second}"
    ids = host.tokenizer(both.reply, add_special_tokens=False)["input_ids"]
    assert len(ids) == TINY.queries + 3  # borders and end
    asked = host.place([host.look([Image.new("RGB", (112, 112))])], ["Make it red."])
    assert asked[0].startswith("<img><img_")


def test_further_scenes_are_read_as_the_others_are(places, tmp_path):
    """Of the same plan they have the same codes; behind it, partners are those of their own plan."""
    shown = stages._scenes(places)
    pupil = stages._code_pupil(places, texts, stages._tokenizer(places))
    kept = stages._codes(places)
    looks = stages.drawn_looks(shown.pictures, shown.plan, pupil.tokenizer.vit, batch=16)
    again = stages.read_codes(pupil, looks, tmp_path / "more")
    assert again.codes.shape == kept.codes.shape
    assert (again.codes[0] == kept.codes[0]).mean() > 0.9  # features were kept in half precision
    assert (again.codes[1] != kept.codes[0]).any()
    np.testing.assert_allclose(again.wanted, kept.wanted, atol=0.02)
    np.testing.assert_allclose(again.tokens, kept.tokens, atol=0.02)
    assert len(kept.joined(again)) == 2 * len(kept) == kept.joined(again).codes.shape[1]
    more = scenes.Plan.draw(shown.pictures.rows, 5, seed=3)
    both = shown.plan.joined(more)
    assert len(both) == 13
    assert (both.picture[both.partner[8:]] == more.picture[more.partner]).all()
    assert (both.picture[both.partner[:8]] == shown.plan.picture[shown.plan.partner]).all()
    assert both.edit(9, scenes.FIRST) == more.edit(1, scenes.FIRST)


def test_rows_of_like_codes_begin_alike(places, host):
    words = host.tokenizer
    entries = torch.randn(TINY.codes, TINY.code_width, generator=torch.Generator().manual_seed(0))
    entries[3] = entries[7]
    model = language.new_language_model(words, TINY)
    before = model.get_input_embeddings().weight.clone()
    language.place_codes(model, words, entries)
    rows = model.get_input_embeddings().weight
    ids = words.convert_tokens_to_ids([CODE.format(code) for code in range(TINY.codes)])
    assert torch.equal(rows[ids[3]], rows[ids[7]])
    assert not torch.equal(rows[ids[3]], rows[ids[4]])
    assert 0.5 < (rows[ids].std() / before.std()).item() < 2
    others = [i for i in range(len(rows)) if i not in ids]
    assert torch.equal(rows[others], before[others])


def test_words_come_back_as_they_were(host):
    text = "a red chair, on a blue background. 7 ü"
    assert host.tokenizer.decode(host.tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_the_autoencoder_starts_as_a_projection_on_components():
    from pocket.seed.autoencoder import FACTOR, new_autoencoder, start_from_components

    g = torch.Generator().manual_seed(0)
    patches = torch.randn(8 * 4 * 4, 6, generator=g) @ torch.randn(6, 3 * FACTOR**2, generator=g)
    patches = patches / patches.abs().max()  # of six components, from -1 to 1
    rgb = patches.reshape(8, 4, 4, 3, FACTOR, FACTOR).permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
    spread = torch.linalg.svdvals(patches - patches.mean(0)).pow(2)
    for channels in (6, 3):
        vae = new_autoencoder(replace(TINY, latent_channels=channels)).eval()
        start_from_components(vae, rgb)
        with torch.no_grad():
            latents = vae.encode(rgb).latent
            missed = (vae.decode(latents).sample - rgb).pow(2).mean() / rgb.var()
        assert latents.shape == (8, channels, 4, 4)
        assert missed.item() == pytest.approx((spread[channels:].sum() / spread.sum()).item(), abs=0.02)


def test_defaults_fit_what_may_ship(tmp_path):
    """At default sizes, beside the ViT of 4.9 M parameters, in float16."""
    from pocket.seed.autoencoder import new_autoencoder
    from pocket.seed.language import new_language_model
    from pocket.seed.unclip import new_unet

    sizes = Sizes()
    with torch.device("meta"):
        parts = [new_autoencoder(sizes), new_unet(sizes)]
        words = type("Words", (), {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})
        words.__len__ = lambda self: sizes.vocabulary + sizes.codes + 2
        parts.append(new_language_model(words(), sizes))
    count = sum(p.numel() for part in parts for p in part.parameters())
    assert 2 * (count + 4.9e6 + 8e6) < 80e6
