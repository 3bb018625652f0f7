"""Inputs of a report, small and whole: every section has something to show, and every oddity is there once."""

import numpy as np
import pandas as pd
import pytest

from legacylens.candidates.build import build_candidates
from legacylens.candidates.config import CandidateConfig
from legacylens.cutouts.cutout import Cutout
from legacylens.cutouts.writer import StoreWriter
from legacylens.plots.report import ReportInputs, Step
from legacylens.samples.build import build_sample
from legacylens.samples.config import SampleConfig
from legacylens.survey.sphere import offset_position
from legacylens.validation.config import ValidationConfig
from legacylens.validation.leakage import LeakageConfig, run_gates
from legacylens.validation.report import validate


def _sky(n=3000, n_lenses=150):
    rng = np.random.default_rng(12)
    ra, dec = offset_position(np.full(n, 0.1), np.full(n, 8.0), *rng.uniform(-2700, 2700, (2, n)))
    parent = pd.DataFrame(
        {
            "source_id": [f"10000_77_{i}" for i in range(n)],
            "brickname": "0001p080",
            "ra": ra,
            "dec": dec,
            "type": rng.choice(["SER", "DEV", "REX"], n),
            "nobs_z": rng.integers(3, 9, n),
            **{f"mag_{band}": rng.normal(19, 1, n) for band in "grz"},
        }
    )
    systems = parent.iloc[:n_lenses][["ra", "dec"]].assign(
        system_id=[f"L{i}" for i in range(n_lenses)],
        tier=1,
        grade=rng.choice(["A", "confident"], n_lenses),
        grades="list:A",
        names="</script><b>bold</b>",  # a name that would break a careless page
    )
    logit = rng.normal(-4, 1.5, n) + 5 * (np.arange(n) < n_lenses)
    logit[7] = np.nan
    scores = pd.DataFrame({"source_id": parent["source_id"], "logit": logit, "score": 1 / (1 + np.exp(-logit))})
    return parent, systems, scores


@pytest.fixture(scope="session")
def parts():
    """Parent, systems, scores, sample, validation, candidates."""
    parent, systems, scores = _sky()
    sample = build_sample(parent, systems, SampleConfig(nside=1024, guard_arcsec=40.0))
    result = validate(scores, sample.frame, "sealed", ValidationConfig(max_nan_fraction=0.01))
    gates = run_gates(sample.frame, parent, config=LeakageConfig(trees=10))
    found = build_candidates(
        scores, parent, CandidateConfig(top_n=60, max_fraction=0.1), known=systems.iloc[5:], sample=sample.frame
    )
    return {
        "parent": parent,
        "sample": sample,
        "validation": result,
        "gates": gates,
        "found": found,
    }


@pytest.fixture(scope="session")
def store(parts, tmp_path_factory):
    """A store with pictures of all shown candidates but the third."""
    path = tmp_path_factory.mktemp("report") / "store"
    rng = np.random.default_rng(1)
    y, x = np.mgrid[-50:51, -50:51] * 0.262
    galaxy = np.exp(-1.68 * ((x**2 + y**2) ** 0.5 / 1.2) ** 0.5)
    shown = parts["found"].frame.head(50)
    with StoreWriter(path, invvar=False, maskbits=False) as writer:
        for row in shown.drop(index=2).itertuples():
            angle = rng.uniform(0, 2 * np.pi)
            arc = np.exp(-0.5 * ((np.hypot(x, y) - 1.8) / 0.4) ** 2) * np.exp(
                -0.5 * ((np.angle(np.exp(1j * (np.arctan2(y, x) - angle)))) / 0.6) ** 2
            )
            image = np.stack([0.3 * galaxy + 0.10 * arc, galaxy + 0.12 * arc, 1.8 * galaxy + 0.12 * arc])
            image = (image + rng.normal(0, 0.01, image.shape)).astype(np.float32)
            writer.add(
                Cutout(
                    source_id=row.source_id,
                    ra=row.ra,
                    dec=row.dec,
                    bands=("g", "r", "z"),
                    image=image,
                    origin="test",
                )
            )
    return path


@pytest.fixture(scope="session")
def inputs(parts, store):
    """A whole report of a simulated sky."""
    sample = parts["sample"]
    return ReportInputs(
        title="A search of a small sky & <more>",
        release="/data/mock-release",
        is_mock=True,
        about_data="24 bricks of 0.1 degrees, written with seed 1.",
        steps=(
            Step(name="catalog rows", left=52_000),
            Step(name="parent sample", left=3100, removed=(("type", 40_000), ("z >= 20", 8_900))),
            Step(name="cutouts", left=3000, removed=(("no z band", 60), ("bailed-out brick", 40))),
        ),
        candidates=parts["found"].frame,
        candidate_counts=parts["found"].counts,
        validation=parts["validation"],
        sample=sample.frame,
        sample_summary=sample.summary,
        gates=parts["gates"],
        training={"network": "compact", "parameters": 194_433, "minutes": 2.5},
        configuration={"samples": sample.summary["configuration"], "seed": 1},
        hashes={"checkpoint": "ab" * 32},
        store=store,
    )
