from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

import lens_plugins as lp
from lens_plugins.errors import ConfigError, InputError
from lens_plugins.inputs import AudioSettings, read
from lens_plugins.inputs.fbank import fbank
from lens_plugins.inputs.sound_files import decode

FORMATS = Path(__file__).parents[1] / "data/formats"
SECOND = 16_000


def noise(seconds: float, channels: int = 0, seed: int = 0) -> np.ndarray:
    shape = (int(seconds * SECOND), channels) if channels else int(seconds * SECOND)
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


def by_hand(clip: np.ndarray, frames: int = 512) -> torch.Tensor:
    spectrum = fbank(torch.from_numpy(clip - clip.mean()), SECOND, 128)
    padded = torch.zeros(frames, 128)
    padded[: len(spectrum)] = spectrum[:frames]
    return (padded + 4.2677393) / 4.5689974


def test_padding_is_normalised_to_0_934():
    found = read(noise(5), "audio").tensor
    assert tuple(found.shape) == (3, 512, 128)
    assert found[:, 498:].unique().tolist() == pytest.approx([0.93406473], abs=1e-6)  # 4.2677393 / 4.5689974
    assert found[:, 497].std() > 0.01


def test_clips_start_at_i_times_the_rest_over_n():
    waveform = noise(11)
    found = read(waveform, "audio").tensor
    for i, start in enumerate((0, 32_000, 64_000)):  # i · (11 − 5) / 3 s: the last ends 2 s before the end
        assert torch.allclose(found[i], by_hand(waveform[start : start + 80_000]), atol=1e-4)


def test_a_start_between_two_samples_is_rounded_down_and_the_clip_is_whole():
    waveform = noise(5)[:80_000]
    waveform = np.concatenate([waveform, noise(1, seed=1)[:100]])  # i · 100 / 3 → 0, 33, 66
    found = read(waveform, "audio").tensor
    assert torch.allclose(found[2], by_hand(waveform[66 : 66 + 80_000]), atol=1e-4)


def test_a_short_recording_is_doubled_and_cut_from_the_start():
    waveform = noise(2)  # 2 → 4 → 8 s, cut to 5
    expected = by_hand(np.tile(waveform, 4)[:80_000])
    found = read(waveform, "audio").tensor
    assert all(torch.allclose(clip, expected, atol=1e-4) for clip in found)


def test_five_doublings_are_the_most():
    assert read(noise(1)[:2500], "audio").tensor.shape == (3, 512, 128)  # 2500 · 32 = 80000
    with pytest.raises(
        InputError, match=r"has 2499 samples at 16000 Hz; a clip of 5 s needs at least 2500 \(0\.156 s\)"
    ):
        read(noise(1)[:2499], "audio")


def test_clip_length_frames_and_count_are_the_lens_configuration():
    settings = AudioSettings(clip_seconds=2.0, frames=204, clips=1)
    found = read(noise(3), "audio", settings).tensor
    assert torch.allclose(found, by_hand(noise(3)[:32_000], 204), atol=1e-4)
    assert tuple(found.shape) == (204, 128)
    assert found[198:].unique().tolist() == pytest.approx([0.93406473], abs=1e-6)  # 198 frames of signal in 2 s
    assert read(noise(3), "audio", AudioSettings(clip_seconds=2.0, frames=100, clips=2)).tensor.shape == (2, 100, 128)


def test_stereo_is_averaged_unless_a_channel_is_named():
    stereo = noise(5, 2)
    assert torch.allclose(read(stereo, "audio").tensor[0], by_hand(stereo.mean(1)), atol=1e-4)
    first = read(stereo, "audio", AudioSettings(channel=0)).tensor[0]
    assert torch.allclose(first, by_hand(stereo[:, 0].copy()), atol=1e-4)
    with pytest.raises(InputError, match="has 2 channels, no channel 2"):
        read(stereo, "audio", AudioSettings(channel=2))


def test_pcm_integers_are_scaled_as_files_are(tmp_path):
    pcm = (noise(5) * 2**15).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", pcm, SECOND)
    from_file = read(tmp_path / "a.wav").tensor
    assert torch.equal(read(pcm, "audio").tensor, from_file)
    assert torch.equal(read(torch.tensor(pcm), "audio").tensor, from_file)
    with pytest.raises(InputError, match="holds int64"):
        read(pcm.astype(np.int64), "audio")


@pytest.mark.parametrize("kind", ["array", "tensor", ".npy", ".wav"])
def test_floats_a_little_over_full_scale_are_read_and_far_over_it_refused(tmp_path, kind):
    def given(samples: np.ndarray) -> object:
        if kind in ("array", "tensor"):
            return torch.from_numpy(samples) if kind == "tensor" else samples
        if kind == ".npy":
            np.save(tmp_path / "a.npy", samples)
        else:
            soundfile.write(tmp_path / "a.wav", samples, SECOND, subtype="FLOAT")
        return tmp_path / f"a{kind}"

    for loudest in (1.0, 1.5, 8.0):
        assert read(given(noise(5) * np.float32(2 * loudest)), "audio").tensor.isfinite().all()
    for loudest in (8.1, 32_767, 1e30, 3e38):  # floats at the scale of 16 bits are not guessed to be so
        samples = np.zeros(SECOND, np.float32)
        samples[100] = -loudest
        with pytest.raises(InputError, match=r"has samples up to [\d.e+]+; as floats they are from -1 to 1, at most 8"):
            read(given(samples), "audio")


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("mp3_cbr_no_xing.mp3", 133_632 / 44_100),
        ("mp3_vbr_no_xing_starts_loud.mp3", 398_592 / 44_100),
        ("mp3_concatenated_first_xing.mp3", 797_184 / 44_100),
        ("flac_length_unknown.flac", 6),
    ],
)
def test_recordings_of_unstated_length_are_read_whole(name, seconds):
    waveform, rate = decode((FORMATS / name).read_bytes(), name)
    assert len(waveform) / rate == pytest.approx(seconds)
    resampled = waveform[:, 0] if rate == SECOND else soxr.resample(waveform[:, 0], rate, SECOND)
    found = lp.read(FORMATS / name).tensor
    doubled = np.concatenate([resampled] * 2) if seconds < 5 else resampled
    start = 2 * (len(doubled) - 5 * SECOND) // 3 if seconds >= 5 else 0  # the third clip
    assert torch.allclose(found[2], by_hand(doubled[start : start + 5 * SECOND].copy()), atol=1e-3)


@pytest.mark.parametrize(("suffix", "rate"), [(".wav", 44_100), (".flac", 48_000), (".ogg", 22_050), (".mp3", 32_000)])
def test_every_format_and_rate_hears_the_same_tone(tmp_path, suffix, rate):
    time = np.arange(6 * rate) / rate
    tone = 0.4 * np.sin(2 * np.pi * 1000 * time)
    soundfile.write(tmp_path / f"a{suffix}", np.stack([tone, tone], 1), rate)
    found = read(tmp_path / f"a{suffix}").tensor
    expected = by_hand((0.4 * np.sin(2 * np.pi * 1000 * np.arange(80_000) / SECOND)).astype(np.float32))
    assert found[1, 100:400].mean(0).argmax() == expected[100:400].mean(0).argmax()
    assert found[1, 100:400].amax(1).median() == pytest.approx(expected[100:400].amax(1).median().item(), abs=0.05)


@pytest.mark.parametrize("kind", ["array", "file"])
def test_half_an_hour_is_refused_with_both_numbers(tmp_path, kind):
    silence = np.zeros(1800 * 4000, np.int16)
    source = silence if kind == "array" else tmp_path / "long.flac"
    if kind == "file":
        soundfile.write(source, silence, 4000)
    with pytest.raises(InputError, match=r"lasts 1800\.0 s; at most 600 s"):
        read(source, "audio", AudioSettings(sample_rate=4000))


@pytest.mark.parity
def test_the_sample_recordings(samples):
    for file in ("audio_dog.flac", "audio_sea_wave.flac"):
        waveform, rate = soundfile.read(samples / file, dtype="float32")
        found = lp.read(samples / file)
        assert (found.modality, rate, len(waveform)) == ("audio", SECOND, 80_000)
        assert torch.allclose(found.tensor[0], by_hand(waveform), atol=1e-4)


@pytest.mark.parametrize(
    ("field", "bad", "said"),
    [
        ("sample_rate", 100, "sample_rate is 100; it must be 4000 to 192000"),
        ("clip_seconds", 0.0, r"clip_seconds is 0\.0"),
        ("clips", 0, "clips is 0"),
        ("channel", -1, "channel is -1"),
        ("std", 0.0, r"std is 0\.0"),
    ],
)
def test_settings_refuse(field, bad, said):
    with pytest.raises(ConfigError, match=said):
        AudioSettings(**{field: bad})
