import warnings

import mne
import numpy as np
import pytest
import scipy.io

import lens_plugins as lp
from lens_plugins.errors import ConfigError, InputError
from lens_plugins.inputs import EegSettings, eeg, read

FOUR = EegSettings(channels=4)


def zscored(time: int = 500, channels: int = 4) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(channels, time)).astype(np.float32)


def by_hand(row: np.ndarray, steps: int = 512) -> np.ndarray:
    kept = row[20:460]
    return np.interp(np.linspace(0, len(kept) - 1, steps), np.arange(len(kept)), kept)


def test_samples_20_to_460_are_stretched_to_512_with_both_ends_aligned():
    data = zscored()
    found = read(data, "eeg", FOUR).tensor
    assert tuple(found.shape) == (4, 512)
    assert (found[1, 0].item(), found[1, 511].item()) == pytest.approx((data[1, 20], data[1, 459]))
    for row, expected in zip(found, data):
        assert row.numpy() == pytest.approx(by_hand(expected), abs=1e-4)


def test_a_ramp_has_the_hand_computed_steps():
    ramp = np.tile(np.arange(500, dtype=np.float32) / 150, (4, 1))  # standard deviation near 1
    found = read(ramp, "eeg", FOUR).tensor[0] * 150
    assert found[[0, 1, 511]].tolist() == pytest.approx([20, 20 + 439 / 511, 459], abs=1e-3)


def test_fewer_than_460_samples_are_stretched():
    data = zscored(22)  # two are left: a straight line between them
    found = read(data, "eeg", FOUR).tensor
    assert found[0].numpy() == pytest.approx(np.linspace(data[0, 20], data[0, 21], 512), abs=1e-5)
    with pytest.raises(InputError, match="has 21 samples at 1000 Hz; at least 22 are needed"):
        read(zscored(21), "eeg", FOUR)


def test_channels_are_counted_against_the_lens():
    with pytest.raises(InputError, match="has 4 EEG channels; the lens reads 128"):
        read(zscored(), "eeg")
    with pytest.raises(InputError, match=r"has 500 EEG channels; the lens reads 4 \(transpose it\)"):
        read(zscored().T, "eeg", FOUR)
    with pytest.raises(InputError, match=r"shape \(500,\); an EEG recording is \(channels, time\)"):
        read(zscored()[0], "eeg", FOUR)


def test_zscore_is_by_channel():
    data = zscored() * [[3], [50], [1], [0]] + [[0], [7], [0], [5]]
    found = read(data, "eeg", EegSettings(channels=4, zscore=True)).tensor
    whole = (data - data.mean(1, keepdims=True)) / np.where(data.std(1, keepdims=True) > 0, data.std(1)[:, None], 1)
    assert found[1].numpy() == pytest.approx(by_hand(whole[1]), abs=1e-4)
    assert found[3].abs().max() == 0  # a dead electrode is silent, not NaN


def test_band_pass_keeps_5_to_95_hz():
    time = np.arange(3000) / 1000
    rows = np.stack([np.sin(2 * np.pi * hertz * time) for hertz in (1, 20, 60, 200)])
    settings = EegSettings(channels=4, bandpass=True, start=1000, stop=2000, steps=1000)
    levels = read(rows, "eeg", settings).tensor.std(1)
    assert levels[[1, 2]].tolist() == pytest.approx([0.707, 0.707], abs=0.02)
    assert levels[[0, 3]].max() < 0.02


def test_raw_microvolts_are_warned_about_and_zscored_ones_not():
    with pytest.warns(UserWarning, match=r"standard deviation of 30.*EegSettings\(bandpass=True, zscore=True\)"):
        read(zscored() / zscored().std(1, keepdims=True) * 30.3, "eeg", FOUR)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(zscored(), "eeg", FOUR)
        read(zscored() * 30, "eeg", EegSettings(channels=4, zscore=True))


@pytest.mark.parametrize("suffix", [".edf", ".bdf"])
def test_edf_and_bdf_hold_microvolts(tmp_path, write_edf, suffix):
    data = zscored(2000)
    path = write_edf(tmp_path / f"a{suffix}", data, 1000)
    found = lp.read(path, settings=FOUR)
    assert found.modality == "eeg"
    assert found.tensor.numpy() == pytest.approx(read(data, "eeg", FOUR).tensor.numpy(), abs=1e-3)


def test_other_units_of_voltage_become_microvolts(tmp_path, write_edf):
    microvolts = zscored(2000) * 200
    path = write_edf(tmp_path / "a.edf", microvolts / 1000, 1000, unit="mV")
    with pytest.warns(UserWarning, match="looks raw"):
        found = lp.read(path, settings=FOUR).tensor
    with pytest.warns(UserWarning, match="looks raw"):
        expected = read(microvolts, "eeg", FOUR).tensor
    assert found.numpy() == pytest.approx(expected.numpy(), abs=0.1)


@pytest.mark.parametrize("rate", [250, 256, 512, 2048])
def test_other_rates_are_resampled_to_1_khz(tmp_path, write_edf, rate):
    def waves(samples: int, at: int) -> np.ndarray:
        return np.stack([np.sin(2 * np.pi * hertz * np.arange(samples) / at) for hertz in (6, 10, 20, 40)]) * 1.4

    path = write_edf(tmp_path / "a.edf", waves(2 * rate, rate), rate)
    expected = read(waves(2000, 1000), "eeg", FOUR).tensor.numpy()
    assert lp.read(path, settings=FOUR).tensor.numpy() == pytest.approx(expected, abs=0.01)


def raw_array(data: np.ndarray, kinds: list[str], rate: float = 1000.0) -> mne.io.RawArray:
    names = [f"C{i}" for i in range(len(kinds))]
    return mne.io.RawArray(data, mne.create_info(names, rate, kinds, verbose="ERROR"), verbose="ERROR")


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_fif_in_volts_or_zscored_and_without_its_trigger_channel(tmp_path, scale):
    data = zscored(1000)
    both = np.concatenate([data * scale, np.zeros((1, 1000))])
    raw_array(both, ["eeg"] * 4 + ["stim"]).save(tmp_path / "a_raw.fif", verbose="ERROR")
    found = lp.read(tmp_path / "a_raw.fif", settings=FOUR).tensor
    assert found.numpy() == pytest.approx(read(data, "eeg", FOUR).tensor.numpy(), abs=1e-3)


def save_set(path, data: np.ndarray, stored: str | None = None) -> None:
    fields = [(field, "O") for field in ("labels", "X", "Y", "Z")]
    places = np.array([(f"C{i}", 0.0, 0.0, 0.0) for i in range(len(data))], dtype=fields)
    content = dict.fromkeys(("event", "epoch", "icawinv", "icaweights", "icasphere"), np.zeros(0))
    content |= {"setname": "a", "ref": "common", "chanlocs": places, "chaninfo": {"icachansind": 0.0}}
    content |= {"nbchan": float(len(data)), "pnts": float(data.shape[1]), "trials": 1.0, "srate": 1000.0}
    content |= {"xmin": 0.0, "xmax": data.shape[1] / 1000, "data": data if stored is None else stored}
    scipy.io.savemat(path, {"EEG": content}, do_compression=True, appendmat=False)


def test_set_files_hold_microvolts(tmp_path):
    data = zscored(1000)
    save_set(tmp_path / "a.set", data)
    found = lp.read(tmp_path / "a.set", settings=FOUR).tensor
    assert found.numpy() == pytest.approx(read(data, "eeg", FOUR).tensor.numpy(), abs=1e-3)


def test_set_files_are_measured_before_they_are_unpacked(tmp_path, monkeypatch):
    save_set(tmp_path / "a.set", np.zeros((4, 500_000)))
    assert (tmp_path / "a.set").stat().st_size < 100_000
    monkeypatch.setattr(eeg, "MAX_VALUES", 2**20)
    with pytest.raises(InputError, match=r"a\.set unpacks to more than 8388608 bytes"):
        lp.read(tmp_path / "a.set", settings=FOUR)


def test_set_files_keep_to_their_folder(tmp_path):
    (tmp_path / "in").mkdir()
    zscored(1000).T.astype("<f4").tofile(tmp_path / "secret.fdt")
    save_set(tmp_path / "in" / "a.set", zscored(1000), stored="../secret.fdt")
    with pytest.raises(
        InputError, match=r"a\.set names the data file .*secret\.fdt, which is not inside its own folder"
    ):
        lp.read(tmp_path / "in" / "a.set", settings=FOUR)


def test_files_are_counted_before_their_data_are_read(tmp_path, write_edf):
    path = write_edf(tmp_path / "a.edf", zscored(1000, 6), 1000)
    with pytest.raises(InputError, match=r"a\.edf has 6 EEG channels; the lens reads 4"):
        lp.read(path, settings=FOUR)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"channels": 0}, "channels is 0"),
        ({"start": 459}, "start is 459 and stop 460"),
        ({"steps": 1}, "steps is 1"),
        ({"sample_rate": 10}, "sample_rate is 10; it must be 32 to 20000"),
        ({"sample_rate": 128, "bandpass": True}, "sample_rate is 128; a band-pass up to 95 Hz needs over 190"),
    ],
)
def test_settings_refuse(changed, said):
    with pytest.raises(ConfigError, match=said):
        EegSettings(**changed)
