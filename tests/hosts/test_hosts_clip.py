"""A host that embeds: CLIP in four layouts, lenses with towers and without, texts, refusals."""

import copy
import gzip
import json
import math
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from PIL import Image
from transformers import CLIPForImageClassification, CLIPModel, CLIPProcessor

from lens_plugins import Text, load_host
from lens_plugins.catalog import modalities
from lens_plugins.errors import CheckpointError, ConfigError, DoesNotFit, InputError, Unsupported
from lens_plugins.hosts import clip_files
from lens_plugins.hosts.base import CodeHost, PrefixHost
from lens_plugins.hosts.inspect import inspect_host, verify_host
from lens_plugins.hosts.source import brings_lenses, find_source, kind_of
from lens_plugins.hosts.vectors import host_digest
from lens_plugins.lens.config import DIM_HEAD
from lens_plugins.lens.loading import load_lens
from lens_plugins.splice import digest
from lens_plugins.testing import EmbeddingHostContract
from lens_plugins.testing.small import small_input, small_lens
from lens_plugins.testing.small_clip import (
    LAYOUTS,
    SPACE,
    small_clip,
    small_clip_tokenizer,
    small_tower_lens,
    write_clip,
)

SENSES = [name for name, row in modalities().items() if row.embedding]
WRITING = ("generate", "generate_batch", "generate_iter", "stream", "answer", "pieces", "look", "look_batch")


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("clip")
    return {layout: write_clip(root / layout, layout) for layout in LAYOUTS}


@pytest.fixture
def host(folders):
    """CLIP alone."""
    return load_host(folders["transformers"])


@pytest.fixture
def whole(folders):
    """CLIP with every lens, from one file."""
    return load_host(folders["vitlensL"])


class TestClip(EmbeddingHostContract):
    """With a lens in front of CLIP's own ViT."""

    @pytest.fixture
    def lens(self):
        return small_lens("point_cloud")

    @pytest.fixture
    def heard(self):
        return small_input("point_cloud")

    @pytest.fixture
    def reference_features(self, host, pixels):
        with torch.no_grad():
            vision = host.model.vision_model
            return vision.post_layernorm(vision(pixels).last_hidden_state)


class TestClipWithTower(EmbeddingHostContract):
    """With a lens that brings a tower of its own, which stands in front of nothing."""

    @pytest.fixture
    def lens(self):
        return small_tower_lens("audio")

    @pytest.fixture
    def heard(self):
        return small_input("audio")

    @pytest.fixture
    def reference_features(self, host, pixels):
        with torch.no_grad():
            vision = host.model.vision_model
            return vision.post_layernorm(vision(pixels).last_hidden_state)

    def test_a_lens_of_another_width_is_refused_with_both_numbers(self, host, lens):
        """Where its tower ends is what counts."""
        with pytest.raises(DoesNotFit, match=rf"audio lens writes vectors of width {SPACE + 4}; .* are {SPACE} wide"):
            host.plug(small_tower_lens("audio", out=SPACE + 4))
        assert host.lenses == {}

    def test_a_lens_of_another_length_is_refused_with_both_numbers(self, host, lens):
        """The tower counts its own latents."""
        with pytest.raises(DoesNotFit, match=r"reads latents \(B, 4, 32\), not \(1, 5, 32\)"):
            host.read_latents(lens, torch.zeros(1, 5, 32))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_transformers_own_vectors(folders, layout, pixels):
    found, model = load_host(folders[layout]), small_clip()
    texts = ["a bird", "crackling fire", "Sea   wave!", "a"]
    ids = small_clip_tokenizer()(texts, padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        seen = model.get_image_features(pixels).pooler_output
        read = model.get_text_features(ids).pooler_output
    torch.testing.assert_close(found.features("image", pixels), seen, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.texts.features(ids), read, atol=1e-5, rtol=0)
    unit = torch.nn.functional.normalize(read, dim=-1)
    torch.testing.assert_close(found.embed([Text(text) for text in texts]), unit, atol=1e-5, rtol=0)
    assert sorted(found.lenses) == (sorted(SENSES) if layout in ("vitlensL", "files") else [])


def test_one_file_or_many_hold_the_same_lenses(folders):
    given = [small_input(name) for name in ("image", *SENSES)]
    one, many = (load_host(folders[layout]).embed([*given, "text:a bird"]) for layout in ("vitlensL", "files"))
    torch.testing.assert_close(one, many, atol=1e-5, rtol=0)
    assert one.shape == (len(given) + 1, SPACE)


def test_a_folder_of_one_file_is_enough_without_texts(folders, tmp_path):
    for name in ("vitlensL.pt", "open_clip_config.json", "lens_plugins.json"):
        shutil.copy(folders["vitlensL"] / name, tmp_path)
    found = load_host(tmp_path)
    assert found.embed(small_input("audio")).shape == (1, SPACE)
    with pytest.raises(CheckpointError, match=r"no tokenizer for texts, .*vocab\.json and merges\.txt"):
        found.embed("text:a bird")


def test_vectors_worked_out_by_hand(tmp_path):
    """From files to cosines in NumPy: picture, text, and a sound of two clips through a tower of its own."""
    folder = write_clip(tmp_path / "host", "vitlensL", lenses=["depth"])
    rng = np.random.default_rng(3)
    picture = tmp_path / "beach.png"
    Image.fromarray(rng.integers(0, 255, (28, 28, 3), dtype=np.uint8)).save(picture)
    found = load_host(folder)
    state = {name: value.double().numpy() for name, value in found.model.state_dict().items()}
    pixels = np.asarray(Image.open(picture), dtype=np.float64) / 255  # the size the ViT reads, so nothing is resized
    mean, std = (np.array(value) for value in (found.image_settings.mean, found.image_settings.std))
    seen = picture_by_hand(((pixels - mean) / std).transpose(2, 0, 1), state)
    read = text_by_hand(found.texts.ids(["a bird"])[0].numpy(), state)
    lens = found.lenses["depth"]
    own = {name: value.double().numpy() for name, value in lens.state_dict().items()}
    depth = small_input("depth")
    felt = tower_by_hand(lens(depth.tensor[None])[0].double().numpy(), own)
    hand = np.stack([unit(vector) for vector in (seen, read, felt)])
    ours = found.embed([str(picture), "text:a bird", depth])
    np.testing.assert_allclose(ours.numpy(), hand, atol=1e-5)
    best = found.search(str(picture), ["text:a bird", depth])
    cosines = {0: hand[0] @ hand[1], 1: hand[0] @ hand[2]}
    for hit in best:
        assert hit["score"] == pytest.approx(cosines[hit["index"]], abs=1e-5)


def unit(vector):
    return vector / np.linalg.norm(vector)


def norm(x, state, name):
    centred = x - x.mean(-1, keepdims=True)
    return (
        centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * state[f"{name}.weight"] + state[f"{name}.bias"]
    )


def linear(x, state, name):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def block_by_hand(x, state, name, heads, causal=False):
    tokens, width = x.shape
    y = norm(x, state, f"{name}.layer_norm1")
    query, key, value = (
        linear(y, state, f"{name}.self_attn.{part}_proj").reshape(tokens, heads, -1).transpose(1, 0, 2)
        for part in "qkv"
    )
    scores = query @ key.transpose(0, 2, 1) / math.sqrt(width // heads)
    if causal:
        scores = np.where(np.tril(np.ones((tokens, tokens), bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = (weights / weights.sum(-1, keepdims=True)) @ value
    x = x + linear(mixed.transpose(1, 0, 2).reshape(tokens, width), state, f"{name}.self_attn.out_proj")
    hidden = linear(norm(x, state, f"{name}.layer_norm2"), state, f"{name}.mlp.fc1")
    hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))  # the exact GELU
    return x + linear(hidden, state, f"{name}.mlp.fc2")


def picture_by_hand(pixels, state):
    kernel = state["vision_model.embeddings.patch_embedding.weight"]
    patches = [
        (kernel * pixels[None, :, top : top + 14, left : left + 14]).sum((1, 2, 3))
        for top in (0, 14)
        for left in (0, 14)
    ]
    x = np.stack([state["vision_model.embeddings.class_embedding"], *patches])
    x = norm(x + state["vision_model.embeddings.position_embedding.weight"], state, "vision_model.pre_layrnorm")
    for number in range(2):
        x = block_by_hand(x, state, f"vision_model.encoder.layers.{number}", 4)
    return state["visual_projection.weight"] @ norm(x[0], state, "vision_model.post_layernorm")


def text_by_hand(ids, state):
    x = state["text_model.embeddings.token_embedding.weight"][ids]
    x = x + state["text_model.embeddings.position_embedding.weight"][: len(ids)]
    for number in range(2):
        x = block_by_hand(x, state, f"text_model.encoder.layers.{number}", 3, causal=True)
    return state["text_projection.weight"] @ norm(x[ids.argmax()], state, "text_model.final_layer_norm")


def tower_by_hand(latents, state):
    x = np.concatenate([state["tower.class_token"][None], latents]) + state["tower.positions"]
    x = norm(x, state, "tower.norm_in")
    for number in range(2):
        x = block_by_hand(x, state, f"tower.encoder.layers.{number}", 4)
    return state["tower.projection.weight"] @ norm(x[0], state, "tower.norm_out")


def test_clips_are_averaged_before_unit_length(whole):
    sound = small_input("audio", clips=3)
    alone = whole.features("audio", sound.tensor)
    expected = torch.nn.functional.normalize(alone.mean(dim=0), dim=-1)
    torch.testing.assert_close(whole.embed(sound)[0], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(whole.features("audio", sound.tensor[None])[0], alone.mean(dim=0))


def test_files_of_every_sort_are_read_as_the_lens_wants(whole, tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "cloud.npy", rng.random((60, 3), dtype=np.float32))
    Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "beach.png")
    files = [str(tmp_path / "cloud.npy"), str(tmp_path / "beach.png"), f"tactile:{tmp_path / 'beach.png'}"]
    vectors = whole.embed([*files, "text:a beach"])
    assert vectors.shape == (4, SPACE)
    assert whole.read(files[0]).settings == whole.lenses["point_cloud"].config.input
    assert whole.image_settings.resize == "shorter"


def test_it_does_not_write_and_says_so_once(whole):
    for name in WRITING:
        assert not hasattr(whole, name)
        with pytest.raises(Unsupported, match=r"vitlensL cannot .*: it embeds \(embed, classify, search\)"):
            getattr(whole, name)
    assert not isinstance(whole, PrefixHost)
    assert not isinstance(whole, CodeHost)
    with pytest.raises(Unsupported, match="write inputs as codes"):
        whole.encode_codes("a.ply")


def test_both_names_mean_its_one_space(whole):
    given = [small_input("image"), "text:a bird"]
    torch.testing.assert_close(whole.embed(given, "vision"), whole.embed(given, "text"))
    with pytest.raises(ConfigError, match="no space 'sound'"):
        whole.embed(given, "sound")


def test_labels_by_templates(whole):
    labels, templates = ["bird", "dog", "car"], ["a {}", "the {}", "the {}"]
    texts = [[template.replace("{}", label) for template in templates] for label in labels]
    heads = torch.stack([whole.embed([f"text:{text}" for text in row]).mean(dim=0) for row in texts])
    heads = torch.nn.functional.normalize(heads, dim=-1)
    torch.testing.assert_close(whole.label_vectors(labels, templates), heads, atol=1e-6, rtol=0)
    thing = small_input("eeg")
    chances = (100 * whole.embed(thing) @ heads.T).softmax(dim=-1)[0]
    by_label = {one["label"]: one["score"] for one in whole.classify(thing, labels, template=templates)}
    for number, label in enumerate(labels):
        assert by_label[label] == pytest.approx(chances[number].item(), abs=1e-5)
    given = whole.classify(thing, labels, vectors=3 * heads)  # any length will do
    assert {one["label"]: pytest.approx(one["score"], abs=1e-5) for one in given} == by_label


def test_texts_beyond_the_context_are_cut_and_keep_their_end(whole):
    long = "bird " * 200
    ids = whole.texts.ids([long, "a"])
    assert ids.shape == (2, 77)
    assert (ids[0, 0], ids[0, -1]) == (512, 513)
    assert ids[1, 3:].count_nonzero() == 0
    assert whole.texts.ids(["a"]).shape == (1, 3)
    assert whole.texts.ids(["", "a"], pad=True).shape == (2, 77)
    assert whole.texts.ids([]).shape == (0, 0)
    together = whole.embed([Text(long), Text("a")])
    torch.testing.assert_close(together, torch.cat([whole.embed(Text(long)), whole.embed(Text("a"))]))
    torch.testing.assert_close(whole.embed("text:salt &amp;amp; pepper"), whole.embed("text:salt & pepper"))


def test_threads_share_a_host_that_has_read_no_text_yet(folders):
    host = load_host(folders["vitlensL"])
    asked = [f"text:thing {number}" for number in range(8)] + [small_input(name) for name in SENSES]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(host.embed, asked))
    torch.testing.assert_close(torch.cat(together), host.embed(asked), atol=1e-5, rtol=0)


def test_half_precision_stays_near(folders):
    half = load_host(folders["vitlensL"], dtype="bfloat16")
    assert {lens.dtype for lens in half.lenses.values()} == {torch.bfloat16}
    given = [small_input("image"), "text:a bird", *(small_input(name) for name in SENSES)]
    vectors = half.embed(given)
    assert vectors.dtype == torch.float32
    whole = load_host(folders["vitlensL"]).embed(given)
    assert (vectors * whole).sum(dim=-1).min() > 0.95


def test_the_digest_of_a_host_knows_all_that_vectors_depend_on(folders):
    before = host_digest(load_host(folders["transformers"]))
    assert host_digest(load_host(folders["open_clip"])) == before
    for part in ("visual_projection", "text_projection", "vision_model", "text_model"):
        host = load_host(folders["transformers"])
        next(iter(getattr(host.model, part).parameters())).view(-1)[0] += 1
        assert host_digest(host) != before, part


def test_a_copy_embeds_the_same(whole):
    given = ["text:a bird", small_input("image"), small_input("audio")]
    torch.testing.assert_close(copy.deepcopy(whole).embed(given), whole.embed(given))


def test_offloaded_weights_embed_the_same(folders, whole):
    given = ["text:a bird", small_input("image"), small_input("audio")]
    expected = whole.embed(given)
    cpu_offload(whole.model, execution_device=torch.device("cpu"))
    torch.testing.assert_close(whole.embed(given), expected)
    torch.testing.assert_close(load_host(folders["files"], device_map="auto").embed(given), expected)


@pytest.mark.parametrize("place", [{"": "cpu"}, "disk"])
def test_placement_by_parts_is_for_transformers_layout(folders, place):
    with pytest.raises(ConfigError, match="is for CLIP in transformers' layout; give device="):
        load_host(folders["vitlensL"], device_map=place)


def test_nothing_moves(whole):
    before = digest(whole.model), {name: digest(lens) for name, lens in whole.lenses.items()}
    whole.embed([small_input(name) for name in ("image", *SENSES)])
    whole.classify(small_input("depth"), ["a", "b"])
    for name in list(whole.lenses):
        whole.unplug(name)
    whole.plug(small_tower_lens("audio"))
    assert digest(whole.model) == before[0]
    assert load_host(whole) is whole


def test_a_loaded_model_is_wrapped(folders, tmp_path):
    model = small_clip()
    bare = load_host(model)
    assert bare.embed(small_input("image")).shape == (1, SPACE)
    with pytest.raises(CheckpointError, match="no tokenizer for texts"):
        bare.embed("text:a bird")
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = CLIPProcessor(images, small_clip_tokenizer())
    dressed = load_host(model, processor=processor)
    expected = load_host(folders["transformers"]).embed("text:a bird")
    torch.testing.assert_close(dressed.embed("text:a bird"), expected)
    found = load_host(CLIPModel.from_pretrained(folders["transformers"]))
    torch.testing.assert_close(found.embed("text:a bird"), expected)
    with pytest.raises(ConfigError, match="A CLIPForImageClassification has no visual_projection"):
        load_host(CLIPForImageClassification(model.config))


def test_the_name_leads_to_the_released_files(folders, monkeypatch):
    asked = []

    def fetch(repository, file, *, revision=None):
        asked.append((repository, file, revision))
        return folders["vitlensL"] / file

    monkeypatch.setattr(clip_files, "fetch", fetch)
    for name in ("vitlensL", "TencentARC/ViT-Lens"):
        found = find_source(name)
        assert (str(found), kind_of(found).name, brings_lenses(name)) == ("TencentARC/ViT-Lens", "clip", True)
    assert not brings_lenses("laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K")
    # the small file's heads are told by notes that the hub's repository does not have
    with pytest.raises(ConfigError, match="do not tell"):
        load_host("vitlensL")
    assert set(asked) == {("TencentARC/ViT-Lens", "vitlensL.pt", None)}


def test_the_name_alone_loads_what_the_released_file_holds(tmp_path, monkeypatch):
    """Heads are told by the released widths; here the small widths are made such."""
    folder = write_clip(tmp_path / "host", "vitlensL", lenses=["depth"])
    monkeypatch.setattr(clip_files, "fetch", lambda repository, file, *, revision=None: folder / file)
    monkeypatch.setitem(clip_files._HEADS, 32, 4)
    monkeypatch.setattr(clip_files, "_TEXT_HEAD", 8)
    monkeypatch.setitem(DIM_HEAD, 32, 8)
    found = load_host("vitlensL")
    assert (found.name, list(found.lenses)) == ("vitlensL", ["depth"])
    given = [small_input("image"), small_input("depth")]
    torch.testing.assert_close(found.embed(given), load_host(folder).embed(given))


def test_the_released_clip_is_told_by_its_shapes():
    config = clip_files._vit_l_14()
    with torch.device("meta"):
        state = dict(CLIPModel(config).state_dict())
    found = clip_files._clip_config(state, {}, "vitlensL.pt")
    for part in ("vision_config", "text_config"):
        own, told = getattr(found, part).to_dict(), getattr(config, part).to_dict()
        differ = {name for name in own if own[name] != told[name]}
        assert differ <= {"eos_token_id"}, part
    assert found.text_config.num_attention_heads == 12
    assert found.projection_dim == 768


def test_without_the_hub_the_name_is_one_sentence():
    with pytest.raises(CheckpointError, match=r"ViT-Lens/vitlensL\.pt cannot be fetched") as caught:
        load_host("vitlensL")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"quantization": "4bit"}, {"vit": "own"}])
def test_what_only_language_hosts_take_is_refused(folders, host, wrong):
    given = {"vit": host.vit} if "vit" in wrong else wrong
    with pytest.raises(ConfigError, match="is a CLIP, without"):
        load_host(folders["transformers"], **given)


def test_another_text_tower_is_refused(folders, tmp_path):
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(8, 32)}, tmp_path / "head.safetensors")
    head = {"text_tower": lambda texts: torch.zeros(len(texts), 8), "text_head": tmp_path / "head.safetensors"}
    with pytest.raises(ConfigError, match="has a text tower of its own"):
        load_host(folders["transformers"], **head)


def test_lenses_alone_stand_beside_the_clip_of_the_hub(folders, tmp_path):
    shutil.copy(folders["files"] / "vitlensL_depth.pt", tmp_path)
    with pytest.raises(CheckpointError, match=r"laion/CLIP-ViT-L-14-DataComp.* cannot be loaded"):
        load_host(tmp_path)


def test_a_lens_of_another_clip_in_the_folder_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders["files"], tmp_path / "host")
    other = write_clip(tmp_path / "other", "files", lenses=["depth"])
    lens = load_lens(folder / "vitlensL_depth.pt", "depth", heads=4, size=28)
    assert lens.config.tower.out == SPACE
    content = torch.load(other / "vitlensL_depth.pt", weights_only=True)
    key = "module.visual.proj"
    content["state_dict"][key] = content["state_dict"][key][:, :12].contiguous()
    torch.save(content, folder / "vitlensL_depth.pt")
    with pytest.raises(DoesNotFit, match=rf"depth lens writes vectors of width 12; .* are {SPACE} wide"):
        load_host(folder)


def spoil_weights(folder):
    path = folder / "vitlensL.pt"
    content = torch.load(path, weights_only=True)
    del (
        content["state_dict"]["vitlens.image.ln_pre.weight"],
        content["state_dict"]["vitlens.text.token_embedding.weight"],
    )
    torch.save(content, path)


def spoil_config(folder):
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"vision_cfg": {"head_width": 5}}}))


def spoil_head_width(folder):
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"vision_cfg": {"head_width": "8"}}}))


def spoil_means(folder):
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 28, "image_mean": 3, "resample": [2]}))


def spoil_part(folder):
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"vision_cfg": 3}}))


def spoil_settings(folder):
    (folder / "lens_plugins.json").write_text(json.dumps({"lens_settings": {"smell": {}}}))


def spoil_settings_kind(folder):
    (folder / "lens_plugins.json").write_text(json.dumps({"lens_settings": {"audio": 3}}))


def spoil_file(folder):
    (folder / "vitlensL.pt").write_bytes(b"no weights at all")


def spoil_tokenizer(folder):
    shutil.rmtree(folder / "tokenizer.json", ignore_errors=True)
    tokenizer = small_clip_tokenizer()
    tokenizer.add_tokens([f"word{number}" for number in range(9)])
    tokenizer.save_pretrained(folder)


SPOILT = {
    "weights": (spoil_weights, CheckpointError, r"lacks .*token_embedding"),
    "heads": (spoil_config, ConfigError, r"picture tower .* is 32 wide, and its heads are 6"),
    "width of a head": (spoil_head_width, ConfigError, "head_width in the .* is '8'; it must be 1 to 32"),
    "means": (spoil_means, CheckpointError, "has image_mean 3; it must be 3 numbers"),
    "configuration": (spoil_part, ConfigError, "vision_cfg in the open_clip_config.json .* must hold named values"),
    "settings of nothing": (spoil_settings, ConfigError, "names 'smell'; lenses here: .*audio"),
    "settings that are none": (spoil_settings_kind, ConfigError, "must hold named values for each modality"),
    "no weights": (spoil_file, CheckpointError, "vitlensL.pt"),
    "another tokenizer": (spoil_tokenizer, CheckpointError, "has 523 words .* text tower has 514 words"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_folder_that_is_wrong_is_one_sentence(folders, tmp_path, case):
    spoil, error, sentence = SPOILT[case]
    folder = shutil.copytree(folders["vitlensL"], tmp_path / "host")
    spoil(folder)
    with pytest.raises(error, match=sentence) as caught:
        load_host(folder).embed("text:a bird")
    assert "\n" not in str(caught.value)


def test_wrong_batches_are_refused(whole):
    wrong = {
        "image": (torch.zeros(1, 3, 30, 30), DoesNotFit, "reads pictures of shape"),
        "depth": (torch.zeros(2, 2), InputError, "depth in batches of 4 axes"),
        "audio": (torch.zeros(0, 3, 4), InputError, "0 inputs of audio"),
    }
    for modality, (batch, error, sentence) in wrong.items():
        with pytest.raises(error, match=sentence):
            whole.features(modality, batch)
    with pytest.raises(InputError, match=r"shape \(1, 78\)"):
        whole.texts.features(torch.zeros(1, 78, dtype=torch.int64))
    with pytest.raises(InputError, match="reach from 0 to 514; there are 514 words"):
        whole.texts.features(torch.tensor([[0, 514]]))
    with pytest.raises(InputError, match="3 is of the type int"):
        whole.texts.ids(["a", 3])
    with pytest.raises(InputError, match=r"type torch\.bool; .* reads whole numbers"):
        whole.texts.features(torch.zeros(1, 77, dtype=torch.bool))
    with pytest.raises(Unsupported, match="makes a vector of one input; 2 stand together"):
        whole.embed([[small_input("image"), small_input("depth")]])
    with pytest.raises(InputError, match="half a character"):
        whole.embed(Text("\ud800"))
    with pytest.raises(InputError, match="image comes as a list"):
        whole.features("image", [1])
    with pytest.raises(InputError, match="0 inputs to embed"):
        whole.embed([])


def test_it_is_inspected_and_verified(folders, whole):
    report = inspect_host(folders["transformers"])
    assert (report.kind, report.model_type) == ("clip", "clip")
    assert {part.name for part in report.parts} >= {"vision_model", "text_model"}
    tried = verify_host(whole, [small_tower_lens("audio", out=7), small_lens("depth")])
    assert [lens.fits for lens in tried.lenses] == [True] * len(SENSES) + [False, True]
    assert tried.stable


def test_pictures_are_seen_as_the_files_say(folders, tmp_path):
    folder = shutil.copytree(folders["transformers"], tmp_path / "host")
    values = {"size": 28, "crop_size": 28, "do_center_crop": True, "image_mean": [0.1, 0.2, 0.3], "resample": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    settings = load_host(folder).image_settings
    assert (settings.resize, settings.mean, settings.interpolation) == ("shorter", (0.1, 0.2, 0.3), "bilinear")
    (folder / "preprocessor_config.json").write_text(json.dumps({**values, "crop_size": {"height": 30, "width": 30}}))
    with pytest.raises(CheckpointError, match="pictures of 30 pixels; its ViT reads 28"):
        load_host(folder)


def test_the_list_of_merges_makes_clips_tokenizer(tmp_path):
    merges = ["b i", "bi r", "bir d</w>", "d o", "do g</w>"]
    path = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
    path.write_bytes(gzip.compress("\n".join(["#version", *merges]).encode()))
    tokenizer = clip_files.tokenizer_of_bpe(path)
    start, end, bird, dog = 512 + len(merges), 513 + len(merges), 512 + 2, 512 + 4
    assert len(tokenizer) == end + 1
    ids = tokenizer(["BIRD", " dog  dog", ""])["input_ids"]
    assert ids == [[start, bird, end], [start, dog, dog, end], [start, end]]


@pytest.mark.parametrize("content", [b"nothing", gzip.compress(b"#version\na b\nno-pair\n"), b""])
def test_a_list_of_merges_that_is_none(tmp_path, content):
    path = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bpe_simple_vocab_16e6\.txt\.gz"):
        clip_files.tokenizer_of_bpe(path)
