"""Device profiles: the numbers of the issue, each with its source."""

from importlib.resources import files

import pytest

from device_profiles.data_file import DataFileError
from device_profiles.document import parse_document
from device_profiles.errors import UsageError
from device_profiles.profile import PumpProfile, StimulatorProfile
from device_profiles.profile_file import load_profile, profile_names, read_profile


def shipped(name: str) -> str:
    return files("device_profiles").joinpath("data", f"{name}.yaml").read_text(encoding="utf-8")


def test_the_stimulator_profile_holds_the_numbers_of_the_issue() -> None:
    profile = load_profile("scs-16")
    assert isinstance(profile, StimulatorProfile)
    assert (profile.contacts, profile.contact_area) == (16, 12_250_000)
    assert (profile.amplitude_max, profile.amplitude_step) == (25_500, 100)
    assert profile.contact_current_max == 12_700
    assert (profile.width_min, profile.width_max, profile.width_step) == (20, 1_000, 10)
    assert (profile.rate_min, profile.rate_max, profile.rate_step) == (2_000, 1_200_000, 1_000)
    assert (profile.rate_high, profile.interphase) == (10_000_000, 20)
    assert (profile.programs_max, profile.areas_max) == (4, 4)
    assert (profile.compliance, profile.cycle_min) == (15_000, 1_000)


def test_the_stimulator_profile_holds_the_charge_limits_of_the_domain() -> None:
    profile = load_profile("scs-16")
    assert isinstance(profile, StimulatorProfile)
    charge = profile.charge
    assert (charge.density_soft, charge.density_hard) == (30, 60)
    assert (charge.shannon_k_soft_centi, charge.charge_rate_soft) == (185, 1_500)


def test_the_pump_profile_holds_the_numbers_of_the_issue() -> None:
    profile = load_profile("itp-20")
    assert isinstance(profile, PumpProfile)
    assert (profile.reservoir, profile.residual, profile.tubing) == (20_000_000, 1_400_000, 199_000)
    assert (profile.flow_min, profile.flow_max, profile.flow_step) == (48_000, 24_000_000, 1)
    assert (profile.minimum_rate, profile.accuracy) == (6_000, 145_000)


@pytest.mark.parametrize("name", profile_names())
def test_every_shipped_profile_loads_and_claims_no_number_of_an_implant(name: str) -> None:
    assert load_profile(name).name == name
    assert "no implant" in shipped(name)


@pytest.mark.parametrize("name", ["scs-99", "", "../itp-20", "formulary"])
def test_an_unknown_device_is_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(UsageError, match="scs-16, itp-20"):
        load_profile(name)


@pytest.mark.requirement("SR-11")
def test_a_number_without_a_source_is_refused_at_load() -> None:
    text = shipped("itp-20").replace('value: 20 mL, source: "', 'value: 20 mL, note: "')
    with pytest.raises(DataFileError) as caught:
        read_profile(parse_document("itp.yaml", text.encode()))
    assert {(f.rule, f.path) for f in caught.value.findings} == {
        ("FILE-06", "reservoir.source"),
        ("FILE-05", "reservoir.note"),
    }
    assert "itp.yaml:7:" in str(caught.value)


def test_an_empty_source_is_no_source() -> None:
    text = 'profile: pump\nname: x\nabout: two words\nresidual: {value: 1 mL, source: ""}\n'
    with pytest.raises(DataFileError) as caught:
        read_profile(parse_document("x.yaml", text.encode()))
    assert ("FILE-07", "residual.source") in {(f.rule, f.path) for f in caught.value.findings}


@pytest.mark.parametrize("text", ["", "- a\n", "a: [\n"])
def test_a_broken_profile_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(DataFileError, match="FILE-0"):
        read_profile(parse_document("x.yaml", text.encode()))
