"""Rows: ours, those of installed packages, those of this process; a clash names both packages."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace

import pytest

from lens_plugins import catalog
from lens_plugins.catalog import HostKind, HostRow, LensRow, ModalityRow, register
from lens_plugins.errors import ConfigError

THERMAL = ModalityRow("thermal", "a thermogram", (".thm",), (), "warm.read:read", "warm.read:Settings", None, 3)


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(catalog, "_registered", [])
    for cached in (catalog._from_entry_points, catalog._rows_and_owners):
        cached.cache_clear()
    yield
    for cached in (catalog._from_entry_points, catalog._rows_and_owners):
        cached.cache_clear()


def installed(monkeypatch, group, **points):
    """As if a package `name` had the entry point `value`."""

    class Point(importlib.metadata.EntryPoint):
        @property
        def dist(self):
            return type("Dist", (), {"name": self.name})

    found = [Point(name.replace("_", "-"), value, group) for name, value in points.items()]
    monkeypatch.setattr(catalog, "entry_points", lambda *, group: [p for p in found if p.group == group])


def test_a_registered_modality_is_there_at_once():
    with pytest.raises(ConfigError, match="no modality 'thermal'"):
        catalog.find_modality("thermal")
    register(THERMAL)
    assert catalog.find_modality("thermal") is THERMAL
    assert catalog.modality_of_suffix(".THM") == "thermal"
    register(replace(THERMAL))  # the cell of a notebook, run again
    assert list(catalog.modalities()).count("thermal") == 1


def test_every_kind_of_row_can_be_registered():
    rows = (
        HostKind("warm", "warm.host:Host", ("warm",)),
        LensRow("warm-lens", "depth", "own", "owner/warm", "lens.pt", "MIT"),
        HostRow("warm-host", "warm", "owner/host", "MIT", "an LLM"),
    )
    for row in rows:
        register(row)
    assert catalog.host_kinds()["warm"] is rows[0]
    assert catalog.find_lens("warm-lens") is rows[1]
    assert catalog.find_host("warm-host") is rows[2]
    assert len(catalog.lenses()) == len(catalog.LENSES) + 1
    assert len(catalog.hosts()) == len(catalog.HOSTS) + 1
    with pytest.raises(ConfigError, match="A str is no row; give a ModalityRow"):
        register("warm")


def test_a_clash_names_both_packages():
    register(THERMAL)
    other = replace(THERMAL, noun="a heat map", reader="heat.io:read")
    with pytest.raises(ConfigError, match="Two packages bring modalities 'thermal': warm and heat"):
        register(other)
    with pytest.raises(ConfigError, match="modalities 'thermal': warm and a notebook"):
        register(other, package="a notebook")
    with pytest.raises(ConfigError, match="modalities 'depth': lens-plugins and heat"):
        register(replace(other, name="depth"))
    with pytest.raises(ConfigError, match="lenses 'eva_g14_objaverse': lens-plugins and this process"):
        register(LensRow("eva_g14_objaverse", "depth", "own", "owner/x", "lens.pt", "MIT"))
    assert catalog.find_modality("thermal") is THERMAL  # what was refused left nothing behind
    assert catalog.find_modality("depth").noun == "a depth map"


def test_entry_points_bring_rows(monkeypatch):
    installed(monkeypatch, "lens_plugins.modalities", warm_package=f"{__name__}:THERMAL")
    assert catalog.find_modality("thermal") is THERMAL
    with pytest.raises(ConfigError, match="'thermal': warm-package and heat"):
        register(replace(THERMAL, reader="heat.io:read"))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (f"{__name__}:installed", "of warm-package in 'lens_plugins.modalities' must name a ModalityRow, but"),
        (f"{__name__}:NOTHING", "of warm-package in 'lens_plugins.modalities' cannot be loaded: .*NOTHING"),
        ("no_such_module:ROW", "of warm-package .* cannot be loaded: .*no_such_module.*uninstall warm-package"),
    ],
)
def test_an_entry_point_that_is_wrong_names_its_package(monkeypatch, value, sentence):
    installed(monkeypatch, "lens_plugins.modalities", warm_package=value)
    with pytest.raises(ConfigError, match=sentence):
        catalog.modalities()


def test_two_packages_with_one_name_are_both_named(monkeypatch):
    row = f"{__name__}:THERMAL"
    installed(monkeypatch, "lens_plugins.modalities", warm_package=row, heat_package=row)
    with pytest.raises(ConfigError, match="modalities 'thermal': warm-package and heat-package"):
        catalog.modalities()


@pytest.mark.parametrize("dotted", ["no_such_module:name", "lens_plugins.errors:NoSuchError"])
def test_a_row_that_leads_nowhere_is_named(dotted):
    with pytest.raises(ConfigError, match=f"A row of the catalogue names '{dotted}', which cannot be imported"):
        catalog.resolve(dotted)


def test_every_row_leads_somewhere():
    for row in catalog.modalities().values():
        for dotted in filter(None, (row.reader, row.settings, row.embedding, row.augment, row.preview)):
            assert callable(catalog.resolve(dotted))
