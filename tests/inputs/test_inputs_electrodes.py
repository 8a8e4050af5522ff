"""Labels as programs write them, and which of them are EEG."""

import pytest

from lens_plugins.errors import InputError
from lens_plugins.inputs.electrodes import choose_channels, electrode, is_auxiliary, microvolts

SCALP = """Fp1 FPZ Fz F7 FC5 AFz C3 Cz CPz T3 T8 TP9 P3 Pz POz PO8 O1 Oz Iz Nz Fc5. Cz.. EEG Fp1|EEG Fz-Ref|EEG C3-A2
EEG C4-LE|EEG T3-AVG|POL Fz|F3-F7|Fp1-F3|EEG 12|E1|E128|A1|B32|D7|Ch1|channel 5|1|EEG001|EEG 1-Ref|AF7|FT9|CB1"""
OTHER = """EOG L|EOG|HEOG|VEOG1|EOG(L)|E1-EOG|EEG EKG1-REF|ECG I|ECG|EKG|EMG chin|EMG1-EMG2|Chin1|Resp nasal|RESP|Resp.
EXG1|EXG 8|GSR1|Temp|Plet|Erg1|Status|STI 014|STI|Trigger|TRIG|Event|Events|Marker|EEG LOC-REF|ROC-A1|SaO2|SpO2|Flow
Airflow|Thor|ABD|Snore|Pulse|HR|Body position|Leg L|LLEG|ACC_X|gyro.y|Photic-REF|EEG PHOTIC-REF|AUX 1|DC01|Misc 2
Counter|Sample|BATTERY|VREF|GND|Ref|IBI|BURSTS|SUPPR|EDF Annotations|MEG 0111|MAG1|CO2|EtCO2|PPG|BP|Light|Mvmt"""


@pytest.mark.parametrize("label", [label for line in SCALP.split("\n") for label in line.split("|")])
def test_electrodes_on_the_scalp(label):
    assert not is_auxiliary(label)


@pytest.mark.parametrize("label", [label for line in OTHER.split("\n") for label in line.split("|")])
def test_everything_else(label):
    assert is_auxiliary(label)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("EEG Fp1-Ref", "fp1"), ("eeg fp1 - LE", "fp1"), ("Fc5.", "fc5"), ("POL Cz", "cz"), ("T3", "t7"),
        ("T6-A2", "p8"),         ("F3-C3", "f3-c3"), ("", ""), ("EEG C3-A1A2", "c3"), ("Fz-M1+M2", "fz"),
    ],
)  # fmt: skip
def test_names(label, name):
    assert electrode(label) == name


def test_earlobes_mastoids_and_eyes_do_not_count_unless_they_are_a_series():
    labels = ["Fz", "Cz", "A1", "A2", "M1", "M2", "E1", "E2"]
    assert choose_channels(labels, 2, (), "a.edf") == [0, 1]
    assert choose_channels([f"A{n}" for n in range(1, 33)], 32, (), "a.bdf") == list(range(32))  # BioSemi
    assert choose_channels([f"E{n}" for n in range(1, 129)] + ["VREF"], 128, (), "a.edf") == list(range(128))  # EGI
    assert choose_channels(labels, 8, (), "a.edf") == list(range(8))  # a lens that was trained with them


def test_a_wrong_count_names_both_numbers_what_counts_and_the_way_out():
    labels = ["Fz", "Cz", "ECG", "A1"]
    said = (
        r"^a\.edf has 2 EEG channels; the lens reads 5\. Counted are Fz, Cz, left out are ECG, A1; EegSettings\(names="
    )
    with pytest.raises(InputError, match=said):
        choose_channels(labels, 5, (), "a.edf")
    with pytest.raises(InputError, match=r"has 0 EEG channels; the lens reads 5\. Counted are none, left out are ECG"):
        choose_channels(["ECG"], 5, (), "a.edf")
    with pytest.raises(InputError, match=r"C0, .*, C11 and 188 more; EegSettings"):
        choose_channels([f"C{n}" for n in range(200)], 5, (), "a.edf")


def test_names_choose_in_their_order_and_anything():
    labels = ["EEG Fz-Ref", "ECG", "T5", "EEG Cz-Ref"]
    assert choose_channels(labels, 3, ("P7", "ecg", "fz"), "a.edf") == [2, 1, 0]
    with pytest.raises(
        InputError, match=r"a\.edf lacks 2 of the 3 channels that the lens reads: Oz, O1\. It has EEG Fz-Ref"
    ):
        choose_channels(labels, 3, ("Oz", "Cz", "O1"), "a.edf")


@pytest.mark.parametrize(
    ("unit", "scale"), [("uV", 1), ("mV", 1e3), (" V ", 1e6), ("kV", None), ("W", None), ("v/s", None)]
)
def test_microvolts(unit, scale):
    assert microvolts(unit) == scale


def test_what_is_typed_eeg_counts_where_other_types_stand_beside_it():
    labels = ["EEG Fp1", "EEG Fp2", "POL E", "POL BN1", "POL DC01", "POL $A1"]
    assert choose_channels(labels, 2, (), "a.edf") == [0, 1]


def test_labels_and_units_of_other_programs():
    for label in ("-", "", "GYROX", "AccY", "HEOL", "VEOU"):
        assert is_auxiliary(label), label
    for label in ("EXG Channel 0", "Fp1"):
        assert not is_auxiliary(label), label
    assert microvolts("\xa6\xccV") == microvolts("\xe6V") == microvolts("microvol") == 1.0
    assert microvolts("degC") is None
