"""ImageBind's and ViT-Lens's own examples with nothing but the import line changed, and what may go wrong."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from lens_plugins import load_host
from lens_plugins.compat import imagebind
from lens_plugins.compat.imagebind import ModalityType, ViTLens, data, weights
from lens_plugins.compat.imagebind.models import imagebind_model
from lens_plugins.compat.imagebind.vitlens import clean_caption
from lens_plugins.errors import CheckpointError, ConfigError, DoesNotFit, InputError, Unsupported
from lens_plugins.inputs import AudioSettings
from lens_plugins.splice import digest
from lens_plugins.testing.small import small_input, small_lens, write_host
from lens_plugins.testing.small_clip import SPACE, small_clip_tokenizer, small_tower_lens, write_clip

SENSES = ["audio", "depth", "point_cloud", "tactile", "eeg"]

IMAGEBIND_README = """
import torch
from lens_plugins.compat.imagebind import data
from lens_plugins.compat.imagebind.models import imagebind_model
from lens_plugins.compat.imagebind.models.imagebind_model import ModalityType

text_list = ["A dog.", "A car", "A bird"]
image_paths = [".assets/dog_image.png", ".assets/car_image.png", ".assets/bird_image.png"]
audio_paths = [".assets/dog_audio.npy", ".assets/car_audio.npy", ".assets/bird_audio.npy"]

device = "cuda:0" if torch.cuda.is_available() else "cpu"

model = imagebind_model.imagebind_huge(pretrained=True)
model.eval()
model.to(device)

inputs = {
    ModalityType.TEXT: data.load_and_transform_text(text_list, device),
    ModalityType.VISION: data.load_and_transform_vision_data(image_paths, device),
    ModalityType.AUDIO: data.load_and_transform_audio_data(audio_paths, device),
}

with torch.no_grad():
    embeddings = model(inputs)

vision_text = torch.softmax(embeddings[ModalityType.VISION] @ embeddings[ModalityType.TEXT].T, dim=-1)
audio_text = torch.softmax(embeddings[ModalityType.AUDIO] @ embeddings[ModalityType.TEXT].T, dim=-1)
vision_audio = torch.softmax(embeddings[ModalityType.VISION] @ embeddings[ModalityType.AUDIO].T, dim=-1)
"""

VITLENS_README = """
import torch
from lens_plugins.compat.imagebind import ModalityType, ViTLens

model = ViTLens(modality_loaded=[ModalityType.IMAGE, ModalityType.AUDIO, ModalityType.TEXT, ModalityType.PC])
images = [".assets/dog_image.png", ".assets/car_image.png", ".assets/bird_image.png"]
texts = ["a dog", "a car", "a bird"]
outputs = model.encode(
    {
        ModalityType.IMAGE: images,
        ModalityType.TEXT: texts,
        ModalityType.AUDIO: [".assets/dog_audio.npy", ".assets/car_audio.npy", ".assets/bird_audio.npy"],
        ModalityType.PC: [".assets/car.npy", ".assets/guitar.npy"],
    },
    normalize=True,
)
sim_at = torch.softmax(100 * outputs[ModalityType.AUDIO] @ outputs[ModalityType.TEXT].T, dim=-1)
sim_pt = torch.softmax(100 * outputs[ModalityType.PC] @ outputs[ModalityType.TEXT].T, dim=-1)
"""


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A working directory with the small files where ImageBind keeps its own, and what its example reads."""
    root = tmp_path_factory.mktemp("imagebind")
    write_clip(root / ".checkpoints" / "vitlensL", "vitlensL")
    assets = root / ".assets"
    assets.mkdir()
    rng = np.random.default_rng(0)
    for name in ("dog", "car", "bird"):
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(assets / f"{name}_image.png")
        np.save(assets / f"{name}_audio.npy", rng.normal(0, 0.1, 32_000).astype(np.float32))
    for name, count in (("car", 60), ("guitar", 50), ("piano", 60)):
        np.save(assets / f"{name}.npy", rng.random((count, 3), dtype=np.float32))
    torch.save(torch.from_numpy(rng.uniform(1, 20, (40, 50)).astype(np.float32)), assets / "disparity.pt")
    torch.save(torch.from_numpy(rng.normal(0, 1, (5, 500)).astype(np.float32)), assets / "trial.pt")
    return root


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    """There, with no model made so far."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(weights, "_made", [])
    return place / ".assets"


@pytest.fixture
def model(here):
    return imagebind_model.imagebind_huge(pretrained=True)


@pytest.fixture
def batch(here, model):
    return {
        ModalityType.TEXT: data.load_and_transform_text(["A dog.", "A car"]),
        ModalityType.VISION: data.load_and_transform_vision_data([here / "dog_image.png", here / "car_image.png"]),
        ModalityType.AUDIO: data.load_and_transform_audio_data([here / "dog_audio.npy"]),
        ModalityType.DEPTH: data.load_and_transform_depth_data([here / "disparity.pt"]),
        ModalityType.POINT_CLOUD: data.load_and_transform_point_cloud_data([here / "car.npy", here / "piano.npy"]),
        ModalityType.TACTILE: data.load_and_transform_tactile_data([here / "dog_image.png"]),
        ModalityType.EEG: data.load_and_transform_eeg_data([here / "trial.pt"]),
    }


def test_imagebinds_own_example_runs():
    names: dict = {}
    exec(compile(IMAGEBIND_README, "README", "exec"), names)
    for table in ("vision_text", "audio_text", "vision_audio"):
        assert names[table].shape == (3, 3)
        torch.testing.assert_close(names[table].sum(dim=-1), torch.ones(3))
    assert all(vectors.shape == (3, SPACE) for vectors in names["embeddings"].values())


def test_vit_lens_own_example_runs():
    names: dict = {}
    exec(compile(VITLENS_README, "README", "exec"), names)
    assert names["sim_at"].shape == (3, 3)
    assert names["sim_pt"].shape == (2, 3)
    assert {key: tuple(value.shape) for key, value in names["outputs"].items()} == {
        "vision": (3, SPACE),
        "text": (3, SPACE),
        "audio": (3, SPACE),
        "point_cloud": (2, SPACE),
    }


def test_what_comes_out_is_what_the_host_embeds(model, batch, here):
    host = model.host
    files = {
        "vision": host.embed([here / "dog_image.png", here / "car_image.png"]),
        "text": host.embed(["text:A dog.", "text:A car"]),
        "audio": host.embed(here / "dog_audio.npy", modality="audio"),
        "depth": host.embed(here / "disparity.pt", modality="depth"),
        "point_cloud": host.embed([here / "car.npy", here / "piano.npy"]),
        "tactile": host.embed(here / "dog_image.png", modality="tactile"),
        "eeg": host.embed(here / "trial.pt", modality="eeg"),
    }
    scaled, unit = model(batch), model(batch, normalize=True)
    assert list(scaled) == list(batch)
    for key, expected in files.items():
        torch.testing.assert_close(unit[key], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(scaled[key], imagebind_model.SCALES[key] * expected, atol=1e-3, rtol=1e-5)
    assert imagebind_model.SCALES["text"] == 100
    assert imagebind_model.SCALES["vision"] == 1


def test_the_modules_in_a_row_are_the_model(model, batch):
    whole = model(batch)
    for key, given in batch.items():
        x = given[:, 0] if key == "audio" else given
        for parts in ("preprocessors", "trunks", "heads", "postprocessors"):
            x = getattr(model, f"modality_{parts}")[key](x)
        if key == "audio":  # one clip of three
            one = model({key: given[:, :1]})[key]
            torch.testing.assert_close(x, one, atol=1e-4, rtol=1e-4)
        else:
            torch.testing.assert_close(x, whole[key], atol=1e-4, rtol=1e-4)
    assert set(model.modality_heads) == {"vision", "text", *SENSES}


def test_a_lens_without_a_tower_goes_the_same_way(place):
    host = load_host(place / ".checkpoints" / "vitlensL")
    host.plug(small_lens("depth"))
    model = imagebind_model.ImageBindModel(host)
    x = depth = small_input("depth").tensor[None]
    for parts in ("preprocessors", "trunks", "heads", "postprocessors"):
        x = getattr(model, f"modality_{parts}")["depth"](x)
    torch.testing.assert_close(x, model({"depth": depth})["depth"], atol=1e-5, rtol=1e-4)


def test_clips_are_averaged_before_they_are_scaled(model, batch):
    clips = batch["audio"]
    assert clips.shape == (1, 3, 24, 128)
    alone = torch.stack([model.host.features("audio", clips[:, i]) for i in range(3)]).mean(dim=0)
    torch.testing.assert_close(model({"audio": clips})["audio"], 20 * normalize(alone, dim=-1))
    frames = batch["vision"][None]  # two pictures of one thing
    mean = model.host.features("image", batch["vision"]).mean(dim=0, keepdim=True)
    torch.testing.assert_close(model({"vision": frames})["vision"], normalize(mean, dim=-1))
    once = data.load_and_transform_audio_data([".assets/dog_audio.npy"], "cpu", clips_per_video=1)
    assert once.shape == (1, 1, 24, 128)
    torch.testing.assert_close(once[:, 0], clips[:, 0])


def test_none_stays_none(model):
    loaders = [name for name in data.__all__ if name.startswith("load_and_transform")]
    assert len(loaders) == 10
    assert [getattr(data, name)(None, "cpu") for name in loaders] == [None] * 10
    assert model({"text": None}) == {}


def test_what_there_is_no_lens_for_is_refused_in_one_sentence(model):
    for name, words in (("thermal", "thermal pictures"), ("imu", "the movements of an IMU")):
        for call in (
            lambda name=name: getattr(data, f"load_and_transform_{name}_data")(["a.png"], "cpu"),
            lambda name=name: model({name: torch.zeros(1, 1)}),
        ):
            with pytest.raises(Unsupported, match=f"no lens for {words}") as caught:
                call()
            assert str(caught.value).count(". ") <= 1
    with pytest.raises(Unsupported, match="Nothing here reads video"):
        data.load_and_transform_video_data(["a.mp4"], "cpu")
    with pytest.raises(Unsupported, match="no lens for video"):
        model({"video": torch.zeros(1, 1)})


def test_names():
    assert (ModalityType.VISION, ModalityType.IMAGE, ModalityType.PC) == ("vision", "vision", "point_cloud")
    assert {name: getattr(ModalityType, name) for name in ("TEXT", "AUDIO", "THERMAL", "DEPTH", "IMU")} == {
        "TEXT": "text",
        "AUDIO": "audio",
        "THERMAL": "thermal",
        "DEPTH": "depth",
        "IMU": "imu",
    }
    assert imagebind.imagebind_model is imagebind_model
    assert imagebind.ModalityType is imagebind_model.ModalityType
    assert imagebind.load_and_transform_text is data.load_and_transform_text
    assert imagebind.imagebind_huge is imagebind_model.imagebind_huge
    assert imagebind.models.imagebind_model is imagebind_model
    assert {name for name in imagebind.__all__ if not hasattr(imagebind, name)} == set()
    for module in (imagebind, imagebind.models):
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            module.nothing  # noqa: B018


def test_the_pair_is_asked_for(place):
    model, width = imagebind_model.imagebind_huge(True, place / ".checkpoints" / "vitlensL", pandagpt=True)
    assert width == SPACE
    assert model.host is weights.last_host()


def test_only_what_is_asked_for_is_loaded(here):
    model = imagebind_model.imagebind_huge(pretrained=True, modalities=["vision", "audio"])
    assert list(model.host.lenses) == ["audio"]
    with pytest.raises(Unsupported, match="has no lens for a depth map"):
        data.load_and_transform_depth_data([here / "disparity.pt"])
    with pytest.raises(Unsupported, match="has no lens for a depth map"):
        model({"depth": torch.zeros(1, 1, 28, 28)})
    assert list(ViTLens(modality_loaded="audio").host.lenses) == ["audio"]
    assert list(ViTLens(modality_loaded=["image", "pc", "video", "text"]).host.lenses) == ["point_cloud"]


def test_loaders_before_there_is_a_model_read_as_the_released_lenses(here, monkeypatch):
    assert data.load_and_transform_audio_data([here / "dog_audio.npy"]).shape == (1, 3, 512, 128)
    assert data.load_and_transform_vision_data(str(here / "dog_image.png")).shape == (1, 3, 224, 224)
    assert data.load_and_transform_point_cloud_data([here / "car.npy"]).shape == (1, 60, 3)
    data._common_words.cache_clear()
    monkeypatch.setattr(data, "load_words", lambda source: small_clip_tokenizer())
    assert data.load_and_transform_text("a dog").shape == (1, 77)
    data._common_words.cache_clear()


def test_a_model_may_be_named(here, model):
    other = load_host(here.parent / ".checkpoints" / "vitlensL")
    other.plug(small_tower_lens("audio", clips=2))
    imagebind_model.imagebind_huge(pretrained=True)
    assert data.load_and_transform_audio_data([here / "dog_audio.npy"], model=other).shape[1] == 2
    assert data.load_and_transform_audio_data([here / "dog_audio.npy"], model=model).shape[1] == 3


def test_settings_are_those_of_the_readers(here, model):
    given = data.load_and_transform_audio_data([here / "dog_audio.npy"], "cpu", 128, 24, 16000, 1, 2)
    assert given.shape == (1, 2, 24, 128)
    with pytest.raises(ConfigError, match=r"AudioSettings has no field 'chanel'; did you mean 'channel'\?"):
        data.load_and_transform_audio_data([here / "dog_audio.npy"], chanel=0)
    with pytest.raises(ConfigError, match="DepthSettings"):
        data.load_and_transform_depth_data([here / "disparity.pt"], kind="feet")
    assert AudioSettings().clips == 3


def test_clouds_of_unequal_size_are_a_list_that_the_model_takes(here, model):
    clouds = data.load_and_transform_point_cloud_data([here / "car.npy", here / "guitar.npy"], "cpu")
    assert [tuple(cloud.shape) for cloud in clouds] == [(60, 3), (50, 3)]
    expected = model.host.embed([here / "car.npy", here / "guitar.npy"])
    torch.testing.assert_close(model({"point_cloud": clouds}, normalize=True)["point_cloud"], expected)


WRONG = {
    "imagebinds_sound": ({"audio": torch.zeros(1, 3, 1, 128, 204)}, InputError, r"shape \(1, 3, 1, 128, 204\)"),
    "other_frames": ({"audio": torch.zeros(1, 3, 204, 128)}, InputError, "204"),
    "video": ({"vision": torch.zeros(1, 15, 3, 2, 28, 28)}, InputError, r"\(1, 15, 3, 2, 28, 28\)"),
    "large pictures": ({"vision": torch.zeros(1, 3, 224, 224)}, DoesNotFit, "224, 224"),
    "nothing": ({"vision": torch.zeros(0, 3, 28, 28)}, InputError, "holds nothing"),
    "whole numbers": ({"depth": torch.zeros(1, 1, 28, 28, dtype=torch.int64)}, InputError, "torch.int64"),
    "text for ids": ({"text": ["a dog"]}, InputError, "text is given as a list; a loader"),
    "ids as floats": ({"text": torch.zeros(1, 77)}, InputError, "float32"),
    "a misspelt key": ({"visoin": torch.zeros(1, 3, 28, 28)}, ConfigError, "did you mean 'vision'"),
    "a key that is none": ({3: torch.zeros(1, 3, 28, 28)}, ConfigError, "no modality '3'"),
    "no dict": (torch.zeros(1, 3, 28, 28), InputError, "not with a Tensor"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_inputs_are_one_sentence(model, case):
    given, error, sentence = WRONG[case]
    with pytest.raises(error, match=sentence) as caught:
        model(given)
    assert "\n" not in str(caught.value)


def test_nothing_to_load_is_refused(model):
    for name in ("vision", "audio", "depth", "point_cloud", "tactile", "eeg"):
        with pytest.raises(InputError, match="There are 0 inputs of"):
            getattr(data, f"load_and_transform_{name}_data")([], "cpu")
    with pytest.raises(InputError, match="There are 0 texts"):
        data.load_and_transform_text([], "cpu")
    with pytest.raises(InputError, match=r"no file gone\.png"):
        data.load_and_transform_vision_data(["gone.png"], "cpu")


def test_odd_arguments_of_loaders(model):
    with pytest.raises(InputError, match="A int is no text"):
        data.load_and_transform_text(3)
    with pytest.raises(ConfigError, match="model is a int"):
        data.load_and_transform_text("a", model=3)
    for load in (data.load_and_transform_text, data.load_and_transform_vision_data):
        with pytest.raises(ConfigError, match="cuda:99"):
            load(["gone.png"], "cuda:99")
    sound = (np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32), 16_000)
    assert data.load_and_transform_audio_data([sound, sound]).shape == (2, 3, 24, 128)


def test_a_model_without_weights_or_with_others_is_refused(tmp_path, monkeypatch):
    with pytest.raises(Unsupported, match=r"pretrained=True"):
        imagebind_model.imagebind_huge()
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"is empty; put vitlensL\.pt there"):
        imagebind_model.imagebind_huge(True, tmp_path / "empty")
    with pytest.raises(CheckpointError, match="is no folder, no shipped host and no hub id"):
        imagebind_model.imagebind_huge(True, tmp_path / "gone")
    host = write_host(tmp_path / "other", "instructblip-llama")
    with pytest.raises(ConfigError, match="of kind 'instructblip'; this interface needs one that embeds"):
        imagebind_model.imagebind_huge(True, host)
    with pytest.raises(ConfigError, match="dtype is 'bfloat16'"):
        imagebind_model.imagebind_huge(True, dtype="bfloat16")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"vitlensL\.pt cannot be fetched"):
        imagebind_model.imagebind_huge(True)
    with pytest.raises(Unsupported, match="no weights of 'vitlensB'"):
        ViTLens("vitlensB")


def test_it_is_a_frozen_module(model, batch):
    before = digest(model)
    assert not model.train().training
    assert not any(part.training for part in model.modules())
    assert not any(weight.requires_grad for weight in model.parameters())
    model(batch)
    assert digest(model) == before
    assert model.to("cpu") is model
    held = {weight.data_ptr() for weight in model.host.model.parameters()}
    held |= {weight.data_ptr() for lens in model.host.lenses.values() for weight in lens.parameters()}
    held -= {model.host.model.logit_scale.data_ptr()}
    assert {weight.data_ptr() for weight in model.parameters()} == held


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_out_as_it_goes_in(model, batch, dtype):
    expected = model(batch, normalize=True)
    half = model.to(dtype)
    given = {key: value if key == "text" else value.to(dtype) for key, value in batch.items() if key != "point_cloud"}
    for key, vectors in half(given, normalize=True).items():
        assert vectors.dtype == dtype
        assert (vectors.float() * expected[key]).sum(dim=-1).min() > 0.9, key
    assert half({"point_cloud": batch["point_cloud"]})["point_cloud"].dtype == dtype


def test_vit_lens_encodes_what_it_is_given(here):
    lens = ViTLens()
    given = {
        "image": here / "dog_image.png",
        "text": "a dog",
        "pc": [str(here / "car.npy")],
        "depth": [str(here / "disparity.pt")],
        "eeg": str(here / "trial.pt"),
        "tactile": str(here / "dog_image.png"),
        "audio": [str(here / "dog_audio.npy")],
    }
    unit, raw = lens.encode(given), lens.encode(given, normalize=False)
    assert list(unit) == list(given)
    for key, vectors in unit.items():
        assert vectors.shape == (1, SPACE)
        torch.testing.assert_close(vectors, normalize(raw[key], dim=-1))
        assert (raw[key].norm() - 1).abs() > 1e-3
    assert lens.to("cpu").eval().device == torch.device("cpu")
    for wrong, error, sentence in (
        ({"image": []}, InputError, "0 inputs of image"),
        ({"text": [3]}, InputError, "no str"),
        ({"smell": "a"}, ConfigError, "no modality 'smell'"),
        ({"video": "a.mp4"}, Unsupported, "no lens for video"),
        ("a dog", InputError, "not a str"),
    ):
        with pytest.raises(error, match=sentence):
            lens.encode(wrong)


@pytest.mark.parity
def test_captions_are_cleaned_as_the_original_cleans_them(golden):
    import json

    path = golden / "towers" / "config.json"
    if not path.is_file():
        pytest.skip(f"no recordings of the towers in {path.parent}")
    recorded = json.loads(path.read_text("utf-8"))
    assert [clean_caption(text) for text in recorded["captions"]] == recorded["captions_cleaned"]


def test_numbers_of_imagebinds_own_lens_are_warned_about(model, recwarn):
    data.load_and_transform_audio_data([".assets/dog_audio.npy"], "cpu", clips_per_video=2)
    assert not [str(each.message) for each in recwarn if "trained with" in str(each.message)]
    with pytest.warns(UserWarning, match=r"audio are read with mean=-4\.268 in place of .* the lens was trained with"):
        data.load_and_transform_audio_data([".assets/dog_audio.npy"], "cpu", mean=-4.268)
