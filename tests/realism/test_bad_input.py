"""Sets that cannot be judged, or only in part: each fault is named with what to do, and counted in every report."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from legacylens.cli.main import app
from legacylens.errors import FileProblem, InputError
from legacylens.realism.audit import FEWEST
from legacylens.realism.audit_run import run_audit
from legacylens.realism.control_sky import draw_hosts, stamps_of_hosts
from legacylens.realism.gate_run import run_gate
from legacylens.realism.inputs import measure_set
from legacylens.realism.measure import Stamps, measure_stamps, stamps_of
from legacylens.realism.run import write_measured


@pytest.fixture(scope="module")
def hosts():
    return draw_hosts(5, np.random.default_rng(91))


def _write(folder, images, first=0, **beside):
    for number, image in enumerate(images, start=first):
        np.savez(folder / f"sim{number}.npz", cutout=np.moveaxis(image, 0, -1).astype(np.float32), **beside)


def _images(hosts):
    return [cutout.image for cutout in hosts.cutouts]


def _magnitudes(image):
    return 22.5 - 2.5 * np.log10(np.maximum(image, 1e-4))


@pytest.mark.parametrize(
    ("change", "finding", "remedy"),
    [
        (lambda image: 4000.0 * image, "units", "nanomaggies"),
        (_magnitudes, "units", "magnitudes and counts have to be converted"),
        (lambda image: 1e-9 * image, "units", "nanomaggies"),
        (lambda image: image[::-1], "band-order", "g, r, z"),
    ],
    ids=["counts", "magnitudes", "maggies", "order"],
)
def test_units_and_order_are_findings_with_a_remedy(tmp_path, hosts, change, finding, remedy):
    _write(tmp_path, map(change, _images(hosts)))
    result, _ = run_audit(tmp_path)
    assert [item.name for item in result.findings] == [finding]
    assert remedy in result.findings[0].remedy
    assert sum(result.refused.values()) >= 1
    assert result.brightness is None


def test_a_few_bad_ones_are_counted_by_reason_and_the_rest_is_measured(tmp_path, hosts):
    images = _images(hosts)
    broken = images[4].copy()
    broken[1, 50, 50] = np.nan
    blank = np.random.default_rng(1).normal(0.0, 0.003, images[0].shape)
    _write(tmp_path, [images[0], images[1], broken, blank, 4000.0 * images[2]])
    run = write_measured(measure_set(tmp_path), tmp_path / "out", None)
    summary = run.summary()
    assert summary["measured"] == 2
    assert summary["refused"] == {"nan": 1, "no-central-galaxy": 1, "units": 1}
    assert sum(summary["refused"].values()) + summary["measured"] == 5
    assert any("noise was measured" in note for note in summary["notes"])
    assert any("PSF of the cutouts is not known" in note for note in summary["notes"])
    document = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert document["results"]["refused"] == summary["refused"]


def test_mixed_sizes_and_bands_are_named(tmp_path, hosts):
    images = _images(hosts)
    _write(tmp_path, images[:3])
    _write(tmp_path, [images[3][:, 18:83, 18:83]], first=3)
    _write(tmp_path, [images[4][:2]], first=4)
    table = measure_set(tmp_path)
    assert len(table.measured) == 3
    assert sum(table.refused.values()) == 2
    assert {"wrong-size", "missing-band"} == set(table.refused)
    small = hosts.part([0]).cutouts[0]
    other = type(small)(
        source_id="s", ra=1.0, dec=1.0, bands=small.bands, image=small.image[:, 10:91, 10:91], pixscale=0.3
    )
    with pytest.raises(InputError, match=r"different size, pixel or bands.*Give one kind at a time"):
        stamps_of([small, other])


def test_stamps_smaller_than_a_template_are_too_small(hosts):
    stamps = stamps_of_hosts(hosts)
    for side in (39, 37):
        left = (101 - side) // 2
        cut = stamps.images[:, :, left : left + side, left : left + side]
        assert set(measure_stamps(Stamps(names=stamps.names, images=cut, fwhm=stamps.fwhm))["code"]) == {"too-small"}
    # The smallest that is measured.
    cut = stamps.images[:, :, 30:71, 30:71]
    assert "ok" in set(measure_stamps(Stamps(names=stamps.names, images=cut, fwhm=stamps.fwhm))["code"])


def test_few_objects_are_named_with_how_many_are_needed(tmp_path, hosts):
    sims, real = tmp_path / "sims", tmp_path / "real"
    for folder in (sims, real):
        folder.mkdir()
        _write(folder, _images(hosts))
    result, _ = run_audit(sims)
    assert result.findings == ()
    assert any(f"give at least {FEWEST}" in note for note in result.notes)
    with pytest.raises(InputError, match="too few for any test: at least 50 are needed, 400 for the margins"):
        run_gate(sims, real, split="all")
    with pytest.raises(InputError, match="measured control galaxies are too few"):
        write_measured(measure_set(sims), tmp_path / "out", real)


def test_a_set_of_nothing_names_what_it_is(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileProblem, match="no cutout in this folder"):
        measure_set(tmp_path / "empty")
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "a.fits").write_text("<html>not found</html>")
    with pytest.raises(FileProblem, match="a web page"):
        measure_set(tmp_path / "page")


def test_the_verb_reports_what_it_refused(tmp_path, hosts):
    images = _images(hosts)
    _write(tmp_path, [images[0], 4000.0 * images[1]])
    result = CliRunner().invoke(app, ["realism", "audit", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["refused"] == {"units": 1}
    assert document["brightness_factor"] is None
    assert document["notes"]
