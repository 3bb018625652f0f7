"""The chain that docs/realism.md gives for the 435 confident lenses: programs, commands, seeing."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from legacylens.cli.main import app
from legacylens.cutouts.service_products import product_path, psf_of, write_psf
from legacylens.cutouts.store import CutoutStore
from legacylens.cutouts.writer import write_store
from legacylens.errors import PhysicalRangeError
from legacylens.mocks.psf import moffat_psf
from legacylens.realism.inputs import measure_set
from legacylens.realism.measure import stamps_of_store
from legacylens.realism.measure_config import MeasureConfig
from legacylens.realism.seeing import fwhm_of_psf
from legacylens.survey.bands import BANDS
from legacylens.testing.viewer import viewer_server
from legacylens.testing.viewer_faults import FaultPlan
from legacylens.testing.viewer_sky import Sky

PAGE = Path(__file__).parents[2] / "docs" / "realism.md"


def _programs():
    text = PAGE.read_text(encoding="utf-8")
    return dict(re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", text, flags=re.DOTALL))


@pytest.mark.parametrize("fwhm", [0.9, 1.37, 2.2])
def test_the_width_of_a_moffat_profile_is_its_own(fwhm):
    # A pixel blurs the narrowest by a twentieth; the profile is drawn with that.
    assert fwhm_of_psf(moffat_psf(fwhm, 3.0, pixscale=0.262), 0.262) == pytest.approx(fwhm, rel=0.06)
    with pytest.raises(PhysicalRangeError, match="no half maximum"):
        fwhm_of_psf(np.ones((21, 21)), 0.262)


def test_fetched_psfs_are_the_seeing_of_a_store(tmp_path):
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:101, :101] - 50.0
    galaxy = np.array([0.3, 1.2, 2.4])[:, None, None] * np.exp(-0.5 * np.hypot(x, y) / 2.0)
    images = (galaxy + rng.normal(0, 0.003, (2, *galaxy.shape))).astype(np.float32)
    store = tmp_path / "store"
    write_store(store, pd.DataFrame({"source_id": ["s0", "s1"], "ra": [10.0, 11.0], "dec": [0.0, 0.0]}), images)
    planes = {band: moffat_psf(fwhm, 3.0, pixscale=0.262) for band, fwhm in zip(BANDS, (1.6, 1.4, 1.2), strict=True)}
    path = product_path(store, "psf", "s1")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_psf(path, psf_of("test", planes), origin="test")
    with CutoutStore.open(store) as opened:
        (stamps,) = stamps_of_store(opened)
    assert np.isnan(stamps.fwhm[0]).all()
    np.testing.assert_allclose(stamps.fwhm[1], (1.6, 1.4, 1.2), rtol=0.05)
    table = measure_set(store).table
    assert table["psf_is_assumed"].tolist() == [True, False]
    assert table["psf_fwhm_r"][0] == pytest.approx(MeasureConfig().default_fwhm[1])
    assert table["psf_fwhm_r"][1] == pytest.approx(1.4, rel=0.05)


def test_the_programs_choose_the_confident_and_keep_galaxies_off_known_lenses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "known").mkdir()
    (tmp_path / "parent").mkdir()
    names = [
        "DESI-001.1+00.2",
        "J0001 | DESI-002.1+00.2",
        "SDSS J1",
        "DESI-004.1+00.2",
        "DESI-005.1+50.2",
        "DESI-001 b",
    ]
    pd.DataFrame(
        {
            "system_id": ["a", "b", "c", "d", "e", "a"],
            "name": names,
            "grade": ["confident", "confident", "confident", "probable", "confident", "confident"],
            "ra": [1.1, 2.1, 3.1, 4.1, 5.1, 1.1],
            "dec": [0.2, 0.2, 0.2, 0.2, 50.2, 0.2],
        }
    ).to_parquet("known/entries.parquet")
    pd.DataFrame({"system_id": ["a"], "ra": [1.1], "dec": [0.2]}).to_parquet("known/systems.parquet")
    pd.DataFrame(
        {
            "source_id": ["near", "far", "blue", "faint"],
            "ra": [1.101, 1.2, 1.3, 1.4],
            "dec": [0.2, 0.2, 0.2, 0.2],
            "mag_g": [20.5, 20.5, 19.4, 23.5],
            "mag_r": [19.0, 19.0, 19.0, 22.0],
            "mag_z": [18.0, 18.0, 18.6, 21.0],
        }
    ).to_parquet("parent/parent.parquet")
    programs = _programs()
    assert set(programs) == {"confident.py", "luminous_red.py"}
    for text in programs.values():
        exec(compile(text, "docs", "exec"), {})
    assert pd.read_csv("confident.csv")["system_id"].tolist() == ["a", "b"]
    assert pd.read_csv("luminous-red.csv")["source_id"].tolist() == ["far"]

    with viewer_server(Sky(off=0.0, without_z=0.0), FaultPlan(rate=0.0)) as viewer:
        verb = ["cutouts", "fetch", "confident.csv", "--columns", "name=system_id", "--psf", "--out", "lenses/"]
        result = CliRunner().invoke(app, [*verb, "--url", viewer.url, "--rate", "6000"])
        assert result.exit_code == 0, result.output
    measured = CliRunner().invoke(app, ["realism", "measure", "lenses/", "--out", "arcs/"])
    assert measured.exit_code == 0, measured.output
    table = pd.read_parquet("arcs/arcs.parquet")
    # The stand-in's sky has no galaxies, and is told so; its PSFs are used.
    assert sorted(table["source_id"]) == ["a", "b"]
    assert not table["psf_is_assumed"].any()
