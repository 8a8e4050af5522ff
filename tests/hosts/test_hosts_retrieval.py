"""One space for inputs and texts; labels; ranking."""

import json
import shutil
import types

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import lens_plugins as lp
from lens_plugins import Text, catalog, load_host
from lens_plugins.errors import CheckpointError, ConfigError, DoesNotFit, InputError, Unsupported
from lens_plugins.hosts.labels import check_labels
from lens_plugins.hosts.retrieval import rank
from lens_plugins.hosts.text_tower import HEAD_FILE, find_text_tower, load_text_head, load_text_tower
from lens_plugins.splice import digest
from lens_plugins.testing.small import TEXT_WIDTH, WIDTH, small_host, small_input, small_lens, write_text_tower


class Told:
    """A text tower that writes the vectors it was told, and counts its calls."""

    def __init__(self) -> None:
        self.table: dict[str, torch.Tensor] = {}
        self.calls: list[list[str]] = []

    def encode(self, texts):
        self.calls.append(list(texts))
        return torch.stack([self.table[text] for text in texts])


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    return write_text_tower(tmp_path_factory.mktemp("tower"))


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def host(host_folder, encoder, told):
    """A small host with two lenses and a text tower that says what it is told."""
    made = load_host(host_folder("instructblip-llama"), text_tower=told, text_head=encoder / "text_head.safetensors")
    made.plug(small_lens("depth"))
    made.plug(small_lens("audio"))
    return made


@pytest.fixture
def things():
    return [small_input("image"), small_input("depth"), small_input("audio")]


def test_every_modality_and_texts_have_one_space(host, told, things):
    told.table = {"a piano": torch.ones(TEXT_WIDTH), "a dog": 3 * torch.eye(TEXT_WIDTH)[0]}
    vectors = host.embed([Text("a piano"), *things, "text: a dog"])
    assert (vectors.shape, vectors.dtype, vectors.device.type) == ((5, TEXT_WIDTH), torch.float32, "cpu")
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(5))
    torch.testing.assert_close(vectors[0], torch.full((TEXT_WIDTH,), TEXT_WIDTH**-0.5))
    assert torch.equal(vectors[4], torch.eye(TEXT_WIDTH)[0])
    torch.testing.assert_close(vectors[1:4], host.embed(things))
    assert told.calls == [["a piano", "a dog"]]


def test_the_text_space_is_the_head_after_the_class_token(host, encoder, things):
    head = load_file(encoder / "text_head.safetensors")
    rows = torch.stack([host.look(thing, fuse="vit").features[0][0] for thing in things[:2]])
    expected = torch.nn.functional.normalize(rows @ head["weight"].T + head["bias"], dim=-1)
    torch.testing.assert_close(host.embed(things[:2], "text"), expected)


def test_the_vision_space_is_the_vits_own_with_and_without_a_tower(host, instructblip, things):
    for lens in host.lenses.values():
        instructblip.plug(lens)
    assert torch.equal(host.embed(things, space="vision"), instructblip.embed(things))
    assert instructblip.embed(things).shape == (3, WIDTH)


def test_all_inputs_go_through_the_vit_together_and_texts_do_not(host, told, things, monkeypatch):
    passes = []
    encode = host.vit.encode
    monkeypatch.setattr(host.vit, "encode", lambda tokens: passes.append(tokens[0].shape[0]) or encode(tokens))
    told.table = {"a": torch.ones(TEXT_WIDTH)}
    host.embed([*things, Text("a"), things[0]])
    assert passes == [5]  # a picture, a depth map, three clips
    host.embed("text:a")
    assert passes == [5]


def test_many_inputs_go_through_in_parts_with_the_same_result(host, monkeypatch):
    monkeypatch.setattr("lens_plugins.hosts.base._EMBEDDED_TOGETHER", 2)
    pictures = [small_input("image", seed=seed) for seed in range(5)]
    torch.testing.assert_close(host.embed(pictures), torch.cat([host.embed(one) for one in pictures]))


def test_nothing_in_the_host_moves(host, told, things):
    told.table = {"a": torch.ones(TEXT_WIDTH), "b": torch.eye(TEXT_WIDTH)[1]}
    before = digest(host.model)
    host.classify(things, ["a", "b"])
    assert digest(host.model) == before
    assert not host.text_tower.head.weight.requires_grad


def test_the_nearest_label_comes_first_and_scores_sum_to_one(host, told, things):
    own = host.embed(things)
    told.table = {"a piano": own[0], "a dog": own[1], "nothing": -own[0]}
    picture, depth, _ = host.classify(things, ["a dog", " nothing ", "a piano"])
    assert [answer["label"] for answer in picture] == sorted(
        told.table, key=lambda label: -float(own[0] @ told.table[label])
    )
    assert picture[0]["label"] == "a piano"
    assert depth[0]["label"] == "a dog"
    assert sum(answer["score"] for answer in picture) == pytest.approx(1)
    assert [answer["score"] for answer in picture] == sorted((answer["score"] for answer in picture), reverse=True)


def test_one_input_has_one_answer_as_in_transformers_pipelines(host, told, things):
    told.table = {"photo of a": torch.ones(TEXT_WIDTH), "photo of b": torch.eye(TEXT_WIDTH)[0]}
    alone = host.classify(things[0], ["a", "b"], template="photo of {}")
    assert {answer["label"] for answer in alone} == {"a", "b"}
    assert host.classify([things[0]], ["a", "b"], template="photo of {}") == [alone]
    flat = host.classify(things[0], ["a", "b"], template="photo of {}", scale=0)
    assert [answer["score"] for answer in flat] == [0.5, 0.5]


def test_items_are_ranked_by_cosine(host, told, things):
    own = host.embed(things)
    told.table = {"a dog": own[1]}
    found = host.search("text:a dog", things)
    assert found[0]["index"] == 1
    assert found[0]["item"] is things[1]
    assert found[0]["score"] == pytest.approx(1)
    assert [each["score"] for each in found] == pytest.approx(sorted((own @ own[1]).tolist(), reverse=True))
    assert host.search("text:a dog", own) == [{"index": each["index"], "score": each["score"]} for each in found]
    assert len(host.search(things[0], [*things, Text("a dog")], top=2)) == 2
    assert len(host.search(things[0], things, top=None)) == 3


def test_several_queries_are_one_the_mean(host, things):
    own = host.embed(things)
    mean = torch.nn.functional.normalize(own[:2].mean(0), dim=-1)
    found = host.search(things[:2], things)
    assert {each["index"]: each["score"] for each in found} == pytest.approx(
        dict(enumerate((own @ mean).tolist())), abs=1e-5
    )


def test_a_host_without_a_text_tower_ranks_inputs_and_refuses_texts(instructblip):
    pictures = [small_input("image", seed=seed) for seed in range(3)]
    assert instructblip.text_tower is None
    assert instructblip.search(pictures[2], pictures, top=1)[0]["index"] == 2
    for call in (
        lambda: instructblip.embed(["text:a dog", pictures[0]]),
        lambda: instructblip.embed(pictures, "text"),
        lambda: instructblip.classify(pictures[0], ["a", "b"]),
        lambda: instructblip.search(Text("a dog"), pictures),
    ):
        with pytest.raises(Unsupported, match=r"has no text tower.*pocket-instructblip has one.*text_tower=FOLDER"):
            call()


WRONG_LABELS = {  # what the complaint says
    "There are 0 labels; at least 2": [],
    "There are 0 labels": ["", " "],
    "There is 1 label, 'a'; at least 2": ["a"],
    "Label 2 of 3 is empty": ["a", " ", "b"],
    "The label 'a' is given 2 times": ["a", "b", "a "],
    "labels is the text 'a,b'": "a,b",
}


@pytest.mark.parametrize("complaint", WRONG_LABELS)
def test_labels_to_choose_from(host, things, complaint):
    with pytest.raises(InputError, match=complaint):
        host.classify(things[0], WRONG_LABELS[complaint])
    assert check_labels((" a", "b ")) == ["a", "b"]


def test_what_is_wrong_with_a_call(host, things):
    with pytest.raises(ConfigError, match=r"template 'a photo' has no \{\}"):
        host.classify(things[0], ["a", "b"], template="a photo")
    with pytest.raises(ConfigError, match="no space 'txt'; known: vision, text"):
        host.embed(things, "txt")
    with pytest.raises(Unsupported, match="Texts have no place in the space of ViT features"):
        host.embed("text:a", "vision")
    with pytest.raises(ConfigError, match="top is 0; it must be at least 1"):
        host.search(things[0], things, top=0)
    with pytest.raises(DoesNotFit, match=rf"\(3, {WIDTH}\), the query has width {TEXT_WIDTH}"):
        host.search(things[0], host.embed(things, "vision"))
    for empty in ("text:", "text:  "):
        with pytest.raises(InputError, match="The text is empty"):
            host.embed(empty)
    with pytest.raises(InputError, match="0 inputs"):
        host.embed([])
    with pytest.raises(InputError, match="prefix 'text'"):
        host.generate("text:a dog")


def test_equal_cosines_keep_their_order():
    assert [number for number, _ in rank(torch.ones(1), torch.ones(4, 1))] == [0, 1, 2, 3]


def test_files_are_read_as_everywhere(host, tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "beach.png")
    Image.fromarray(picture[..., 0].astype(np.uint16) * 100).save(tmp_path / "room.png")
    found = host.search(str(tmp_path / "beach.png"), [f"depth:{tmp_path / 'room.png'}", tmp_path / "beach.png"])
    assert found[0]["item"] == tmp_path / "beach.png"
    assert found[0]["score"] == pytest.approx(1)


# Where a text tower comes from


def test_a_folder_and_its_head_are_given_and_the_encoder_waits_for_a_text(host_folder, encoder, monkeypatch):
    loaded = []
    load = load_text_tower
    monkeypatch.setattr("lens_plugins.hosts.text_tower.load_text_tower", lambda spec: loaded.append(spec) or load(spec))
    host = load_host(
        host_folder("blip2-opt"), text_tower=str(encoder), text_head=str(encoder / "text_head.safetensors")
    )
    host.embed(small_input("image"))
    assert loaded == []
    first, again = (host.embed(["text:a piano", "text:tell a story"]) for _ in range(2))
    assert loaded == [encoder]
    assert torch.equal(first, again)
    torch.testing.assert_close(first, load(encoder).encode(["a piano", "tell a story"]))


def test_a_loaded_model_is_given_one_too(told, encoder):
    told.table = {"a": torch.ones(TEXT_WIDTH)}
    host = load_host(small_host("blip2-opt"), text_tower=told, text_head=encoder / "text_head.safetensors")
    assert host.embed([Text("a"), small_input("image")]).shape == (2, TEXT_WIDTH)


def test_a_hosts_folder_names_its_tower_by_the_catalogue(host_folder, encoder, tmp_path, monkeypatch):
    folder = shutil.copytree(host_folder("instructblip-llama"), tmp_path / "host")
    (folder / "lens_plugins.json").write_text(json.dumps({"text_tower": "small"}))
    with pytest.raises(ConfigError, match="text_tower is 'small'; known: all-minilm-l6-v2"):
        load_host(folder)
    monkeypatch.setitem(catalog.folders(), "small", types.SimpleNamespace(load=lambda: lambda: encoder))
    with pytest.raises(CheckpointError, match=r"names the text tower 'small', but has no text_head/text_head"):
        load_host(folder)
    (folder / HEAD_FILE).parent.mkdir()
    shutil.copy(encoder / "text_head.safetensors", folder / HEAD_FILE)
    assert load_host(folder).embed("text:a piano").shape == (1, TEXT_WIDTH)


def test_a_path_in_a_hosts_folder_leads_nowhere(host_folder, encoder, tmp_path):
    folder = shutil.copytree(host_folder("instructblip-llama"), tmp_path / "host")
    for place in (str(encoder), "owner/encoder", "https://example.org/encoder"):
        (folder / "lens_plugins.json").write_text(json.dumps({"text_tower": place}))
        with pytest.raises(ConfigError, match=r"text_tower is .*; known: all-minilm-l6-v2"):
            load_host(folder)


def test_towers_that_cannot_be(host_folder, encoder, told, tmp_path):
    head, folder = encoder / "text_head.safetensors", host_folder("instructblip-llama")
    with pytest.raises(ConfigError, match=r"text head .* goes with a text tower"):
        load_host(folder, text_head=head)
    with pytest.raises(ConfigError, match="needs a head"):
        load_host(folder, text_tower=told)
    for nowhere in ("./gone", tmp_path / "gone", head, "gone"):
        with pytest.raises(ConfigError, match="is not a folder and no hub id"):
            load_host(folder, text_tower=nowhere, text_head=head)
    save_file({"weight": torch.zeros(TEXT_WIDTH, WIDTH + 1)}, tmp_path / "wide.safetensors")
    with pytest.raises(DoesNotFit, match=rf"rows of width {WIDTH + 1}; .* has {WIDTH}"):
        load_host(folder, text_tower=told, text_head=tmp_path / "wide.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="is damaged or not a safetensors file"):
        load_text_head(tmp_path / "junk.safetensors")
    save_file({"weight": torch.zeros(2, 3), "bias": torch.zeros(3)}, tmp_path / "bias.safetensors")
    with pytest.raises(CheckpointError, match=r"`bias` is \(3,\), `weight` is \(2, 3\)"):
        load_text_head(tmp_path / "bias.safetensors")


def test_a_tower_of_another_width_than_the_head_is_refused_with_both(host, told):
    told.table = {"a": torch.ones(TEXT_WIDTH + 1)}
    with pytest.raises(DoesNotFit, match=rf"vectors of width {TEXT_WIDTH + 1}, the text head of width {TEXT_WIDTH}"):
        host.embed("text:a")


def test_no_tower_is_none(tmp_path):
    assert find_text_tower(tmp_path) is None
    assert find_text_tower("owner/host") is None


@pytest.mark.parametrize(
    ("pooling", "complaint"),
    [({"pooling_mode_max_tokens": True}, "pools by pooling_mode_max_tokens"), (None, "2_Dense")],
)
def test_an_encoder_that_pools_in_another_way_is_refused(encoder, tmp_path, pooling, complaint):
    folder = shutil.copytree(encoder, tmp_path / "tower")
    part = folder / ("1_Pooling" if pooling else "2_Dense")
    part.mkdir()
    (part / "config.json").write_text(json.dumps(pooling or {"in_features": 8}))
    with pytest.raises(Unsupported, match=complaint):
        load_text_tower(folder)


def test_a_model_that_is_no_sentence_encoder(host_folder):
    with pytest.raises(CheckpointError, match="does not load as a sentence encoder"):
        load_text_tower(host_folder("instructblip-llama"))


@pytest.mark.e2e
@pytest.mark.usefixtures("pocket")
def test_the_pocket_host_has_a_text_tower():
    from lens_plugins.pocket.fetched import cache_folder

    if not (cache_folder() / "all-minilm-l6-v2").is_dir():
        pytest.skip("the text encoder is not in the cache; `lens-plugins doctor --fetch` fetches it")
    host = lp.load_host("pocket-instructblip")
    host.plug(lp.load_lens("pocket-point-cloud"))
    points = host.read(np.random.default_rng(0).random((1200, 3), dtype=np.float32), "point_cloud")
    vectors = host.embed([points, "text:a chair", "text:a wooden chair", "text:an invoice from a bank"])
    assert vectors.shape == (4, 384)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(4))
    assert vectors[1] @ vectors[2] > vectors[1] @ vectors[3]
    answers = host.classify([points], ["chair", "dog", "piano"])[0]
    assert {answer["label"] for answer in answers} == {"chair", "dog", "piano"}
    assert sum(answer["score"] for answer in answers) == pytest.approx(1)


@pytest.mark.parametrize("template", [3, [], [3], "", "no place", ["{}", "no place"]])
def test_templates_that_are_none(host, template):
    with pytest.raises(ConfigError, match=r"template"):
        host.classify(small_input("image"), ["a", "b"], template=template)


def test_vectors_of_labels(host, told):
    thing = small_input("depth")
    told.table = {"a": torch.ones(TEXT_WIDTH), "b": torch.eye(TEXT_WIDTH)[0]}
    expected = host.classify(thing, ["a", "b"])
    for vectors in (torch.stack(list(told.table.values())), [[1.0] * TEXT_WIDTH, [1.0] + [0.0] * (TEXT_WIDTH - 1)]):
        found = host.classify(thing, ["a", "b"], vectors=vectors)
        assert [one["label"] for one in found] == [one["label"] for one in expected]
        assert found[0]["score"] == pytest.approx(expected[0]["score"], abs=1e-5)
    wrong = {
        "not finite": torch.full((2, TEXT_WIDTH), float("nan")),
        r"\(2, E\)": torch.ones(3, TEXT_WIDTH),
        "9 wide, those of .* are 8 wide": torch.ones(2, 9),
        "are a str, not a tensor": "chair",
    }
    for sentence, vectors in wrong.items():
        with pytest.raises(DoesNotFit, match=sentence):
            host.classify(thing, ["a", "b"], vectors=vectors)
    with pytest.raises(ConfigError, match="template or vectors"):
        host.classify(thing, ["a", "b"], template="{}", vectors=torch.ones(2, TEXT_WIDTH))
