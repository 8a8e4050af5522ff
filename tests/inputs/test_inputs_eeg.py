import os
import warnings
from pathlib import Path

import mne
import numpy as np
import pytest
import scipy.io
import torch

import lens_plugins as lp
from lens_plugins.errors import ConfigError, InputError
from lens_plugins.inputs import EegSettings, eeg, read

FORMATS = Path(__file__).parents[1] / "data/formats"
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
    content |= {"nbchan": float(len(data)), "pnts": float(data.shape[1]), "srate": 1000.0}
    content["trials"] = float(data.shape[2]) if data.ndim == 3 else 1.0
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


@pytest.mark.parametrize("name", ["bdf_exg_channels.bdf", "edf_typed_labels.edf", "bdf_dc_offset_15mV.bdf"])
def test_real_files_have_four_eeg_channels_in_microvolts(name):
    found = read_raw(FORMATS / name, FOUR)
    deviations = (found - found.mean(1, keepdim=True)).std(1)
    assert deviations.tolist() == pytest.approx([14.1] * 4, rel=0.1)  # sines of 20 microvolts
    refused = f"{name} has 4 EEG channels; the lens reads 128. Counted are (EEG )?Fz, (EEG )?Cz, (EEG )?Pz, (EEG )?Oz"
    with pytest.raises(InputError, match=refused) as caught:
        lp.read(FORMATS / name)
    assert "EegSettings(names=...) chooses by name" in str(caught.value)


def read_raw(path, settings: EegSettings) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it looks raw
        return lp.read(path, settings=settings).tensor


def test_a_real_file_of_128_channels():
    assert read_raw(FORMATS / "edf_raw_128_channels.edf", EegSettings()).shape == (128, 512)


def test_the_first_epoch_of_epochs():
    found = read_raw(FORMATS / "epochs-epo.fif", FOUR)
    epoch = mne.read_epochs(FORMATS / "epochs-epo.fif", verbose="ERROR")[0].get_data(verbose="ERROR")[0] * 1e6
    expected = read_raw_array(eeg._resample(epoch, 256, 1000))
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-3)


def read_raw_array(data: np.ndarray) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return read(data, "eeg", EegSettings(channels=len(data))).tensor


@pytest.mark.parametrize("apart", [False, True])
def test_the_first_trial_of_a_set(tmp_path, apart):
    trials = np.random.default_rng(0).normal(size=(4, 500, 3))
    if apart:
        trials.reshape(-1, order="F").astype("<f4").tofile(tmp_path / "a.fdt")
    save_set(tmp_path / "a.set", trials, stored="a.fdt" if apart else None)
    found = lp.read(tmp_path / "a.set", settings=FOUR).tensor
    assert found.numpy() == pytest.approx(read(trials[..., 0], "eeg", FOUR).tensor.numpy(), abs=1e-3)


@pytest.mark.parametrize("kind", ["ave", "eve", "cov"])
def test_other_kinds_of_fif_are_said_to_be_other(tmp_path, kind):
    path = tmp_path / f"a-{kind}.fif"
    if kind == "ave":
        mne.EvokedArray(zscored(), raw_array(zscored(), ["eeg"] * 4).info, verbose="ERROR").save(path, verbose="ERROR")
    elif kind == "eve":
        mne.write_events(path, np.array([[1, 0, 1]]), verbose="ERROR")
    else:
        mne.make_ad_hoc_cov(raw_array(zscored(), ["eeg"] * 4).info, verbose="ERROR").save(path, verbose="ERROR")
    with pytest.raises(InputError, match=r"holds neither a continuous recording nor epochs .*; give the"):
        lp.read(path, settings=FOUR)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_fif_files_that_are_cut_off_are_said_to_be(tmp_path, part):
    raw_array(zscored(5000), ["eeg"] * 4).save(tmp_path / "a_raw.fif", verbose="ERROR")
    for source in (tmp_path / "a_raw.fif", FORMATS / "epochs-epo.fif"):
        content = source.read_bytes()
        (tmp_path / "cut.fif").write_bytes(content[: int(part * len(content))])
        with pytest.raises(InputError, match=r"cut\.fif .* at byte \d+ declares \d+ bytes but has \d+; it is trunc"):
            lp.read(tmp_path / "cut.fif", settings=FOUR)


@pytest.mark.parametrize("kind", ["fif", "array"])
def test_a_drift_of_millivolts_leaves_volts_volts(tmp_path, kind):
    microvolts = zscored(1000) * 20
    offset = np.array([[15_000], [-40_000], [200_000], [0]])  # electrodes float
    if kind == "array":  # an array is what it is: nothing is guessed
        assert read_raw_array((microvolts + offset) * 1e-6).abs().max() < 0.3
        return
    raw_array((microvolts + offset) * 1e-6, ["eeg"] * 4).save(tmp_path / "a_raw.fif", verbose="ERROR")
    found = read_raw(tmp_path / "a_raw.fif", FOUR)
    assert found.numpy() == pytest.approx(read_raw_array(microvolts + offset).numpy(), abs=0.1)


def test_channels_by_name_in_the_order_of_the_lens(tmp_path, write_edf):
    data = zscored(1000, 6)
    labels = ["EEG Fz-Ref", "Cz", "EXG1", "EEG T4-Ref", "pz.", "Oz"]
    path = write_edf(tmp_path / "a.edf", data, 1000, labels=labels)
    for names, rows in ((("Oz", "Fz"), (5, 0)), (("T8", "EXG1", "Pz"), (3, 2, 4))):
        settings = EegSettings(channels=len(names), names=names)
        expected = read(data[list(rows)], "eeg", EegSettings(channels=len(names))).tensor
        assert lp.read(path, settings=settings).tensor.numpy() == pytest.approx(expected.numpy(), abs=1e-3)
    with pytest.raises(InputError, match=r"lacks 1 of the 2 channels that the lens reads: P9\. It has EEG Fz-Ref, Cz"):
        lp.read(path, settings=EegSettings(channels=2, names=("Fz", "P9")))


@pytest.mark.parametrize("value", [1e300, -1e12, 3e38])
@pytest.mark.parametrize("kind", ["array", ".npy", ".fif"])
def test_values_that_no_amplifier_gives_are_refused(tmp_path, value, kind):
    data = zscored(1000).astype(np.float64)
    data[2, 30] = value
    source = data
    if kind == ".npy":
        source = tmp_path / "a.npy"
        np.save(source, data)
    elif kind == ".fif":
        source = tmp_path / "a_raw.fif"
        raw_array(data, ["eeg"] * 4).save(source, fmt="double", verbose="ERROR")
    for settings in (FOUR, EegSettings(channels=4, zscore=True), EegSettings(channels=4, bandpass=True, zscore=True)):
        with pytest.raises(InputError, match=r"has values up to [\d.e+]+; EEG is in microvolts or z-scored"):
            read(source, "eeg", settings)


class TestDataFile:
    """A .set may keep its data in a second file, which gets the checks of a first one."""

    def test_whole_and_truncated(self, tmp_path):
        data = zscored(1000)
        data.T.astype("<f4").tofile(tmp_path / "a.fdt")
        save_set(tmp_path / "a.set", data, stored="a.fdt")
        found = lp.read(tmp_path / "a.set", settings=FOUR).tensor
        assert found.numpy() == pytest.approx(read(data, "eeg", FOUR).tensor.numpy(), abs=1e-3)
        data[:, :600].T.astype("<f4").tofile(tmp_path / "a.fdt")
        with pytest.raises(
            InputError, match=r"a\.fdt should have 16000 bytes, by .*a\.set, but has 9600; it is truncated"
        ):
            lp.read(tmp_path / "a.set", settings=FOUR)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
    @pytest.mark.parametrize("trials", [1, 3])
    def test_a_pipe_is_not_waited_for(self, tmp_path, trials):
        os.mkfifo(tmp_path / "a.fdt")
        data = zscored(1000)
        save_set(tmp_path / "a.set", np.stack([data] * 3, 2) if trials > 1 else data, stored="a.fdt")
        with pytest.raises(InputError, match=r"a\.fdt is a pipe or a device"):
            lp.read(tmp_path / "a.set", settings=FOUR)

    def test_absent(self, tmp_path):
        save_set(tmp_path / "a.set", zscored(1000), stored="a.fdt")
        with pytest.raises(InputError, match=r"a\.set"):
            lp.read(tmp_path / "a.set", settings=FOUR)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"channels": 0}, "channels is 0"),
        ({"start": 459}, "start is 459 and stop 460"),
        ({"steps": 1}, "steps is 1"),
        ({"names": ("Fz", "Cz")}, "names has 2, 2 distinct, and channels is 128; all must be equal"),
        ({"names": ("Fz", "FZ-Ref"), "channels": 2}, "names has 2, 1 distinct, and channels is 2"),
        ({"names": "Fz,Cz"}, "names is 'Fz,Cz'; it must be a tuple"),
        ({"sample_rate": 10}, "sample_rate is 10; it must be 32 to 20000"),
        ({"sample_rate": 128, "bandpass": True}, "sample_rate is 128; a band-pass up to 95 Hz needs over 190"),
    ],
)
def test_settings_refuse(changed, said):
    with pytest.raises(ConfigError, match=said):
        EegSettings(**changed)


def test_a_short_recording_is_said_to_be_stretched():
    rows = np.random.default_rng(0).normal(size=(4, 30))
    settings = EegSettings(channels=4, start=2, stop=50, steps=20)
    with pytest.warns(UserWarning, match=r"has 28 of the 48 samples .* stretched 1\.7 times"):
        read(rows, "eeg", settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(np.random.default_rng(0).normal(size=(4, 48)), "eeg", settings)


def test_trials_in_a_dat_file_lie_channel_by_channel(tmp_path):
    trials = np.random.default_rng(0).normal(size=(4, 500, 3))
    save_set(tmp_path / "a.set", trials)
    expected = lp.read(tmp_path / "a.set", settings=FOUR).tensor
    save_set(tmp_path / "b.set", trials, stored="b.dat")
    trials.reshape(4, 1500, order="F").astype("<f4").tofile(tmp_path / "b.dat")
    torch.testing.assert_close(lp.read(tmp_path / "b.set", settings=FOUR).tensor, expected)
    for name in ("b.set", "b.dat"):  # both renamed
        (tmp_path / name).rename(tmp_path / name.replace("b", "c"))
    torch.testing.assert_close(lp.read(tmp_path / "c.set", settings=FOUR).tensor, expected)


def test_nothing_is_read_across_a_cut(tmp_path):
    rows = np.random.default_rng(0).normal(size=(4, 400))
    parts = [raw_array(part, ["eeg"] * 4) for part in (rows[:, :300], rows[:, 300:] * 9)]
    mne.concatenate_raws(parts, verbose="ERROR").save(tmp_path / "a_raw.fif", verbose="ERROR")
    with pytest.warns(UserWarning, match=r"up to its cut after 0\.\d+ s, has 280 of the 440 samples"):
        found = lp.read(tmp_path / "a_raw.fif", settings=FOUR).tensor
    assert found.abs().max() < 5
