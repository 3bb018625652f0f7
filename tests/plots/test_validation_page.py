"""The page on what was validated: every light in every color, every section, and the page in a real browser."""

import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from legacylens.cli.main import app
from legacylens.cutouts.writer import write_store
from legacylens.errors import FileProblem, InputError
from legacylens.files import write_json
from legacylens.models.checkpoint import Checkpoint, save_checkpoint
from legacylens.models.preprocessing import Preprocessing
from legacylens.models.registry import build_network
from legacylens.plots.validation_lights import (
    completeness_light,
    contaminants_light,
    holdouts_light,
    probability_light,
    shortcuts_light,
    threshold_light,
)
from legacylens.plots.validation_page import read_page_inputs, write_page
from legacylens.validation.completeness import QUANTITIES, CompletenessConfig, tabulate
from legacylens.validation.config import ValidationConfig
from legacylens.validation.report import validate
from legacylens.validation.selection_function import SelectionFunction
from legacylens.validation.sky_conditions import conditions_of_bricks
from legacylens.validation.sky_map import completeness_map, write_map

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Every result that the page can show, small and made up, on disk as the verbs write them."""
    folder, rng = tmp_path_factory.mktemp("results"), np.random.default_rng(1)
    n_lens, n = 120, 3120
    sample = pd.DataFrame(
        {
            "source_id": [f"1_1_{i}" for i in range(n)], "label": (np.arange(n) < n_lens).astype(int),
            "split": "validation", "cell": rng.integers(0, 50, n), "grade": "A", "type": "SER",
            "ra": 10.0, "dec": 0.0, "channel": "", "brickname": rng.choice(["0001p000", "0002p000"], n),
            "contaminant": "", "held_out": False,
        }
    )  # fmt: skip
    scores = pd.DataFrame({"source_id": sample["source_id"], "logit": rng.normal(size=n) + 3.0 * sample["label"]})
    validation = validate(scores, sample, config=ValidationConfig(replicas=50, budget=5_000_000))
    write_json(folder / "validation/validation.json", validation)
    row = {"value": 0.5, "low": 0.4, "high": 0.6, "limit": 0.7, "wrong": "above", "detail": "AUC <of> something"}
    shortcuts = {
        "tests": [
            {"test": "core only", "verdict": "pass", **row},
            {"test": "null injection", **dict.fromkeys(row), "verdict": "not testable", "detail": "-"},
        ],
        "sample_hash": validation["sample_hash"], "n_lenses": 120, "n_non_lenses": 900, "not_shown": ["Not all."],
    }  # fmt: skip
    write_json(folder / "shortcuts/shortcuts.json", shortcuts)
    control = {
        "control": "halo",
        "test": "core only",
        "must": "fail",
        "verdict": "fail",
        "seeds_as_expected": 1,
        "seeds": 1,
    }
    write_json(folder / "controls.json", {"controls": [control], "as_expected": True})
    values = pd.DataFrame({name: rng.uniform(q.edges[0], q.edges[-1], 600) for name, q in QUANTITIES.items()})
    completeness = {
        "tables": tabulate(values, rng.random(600) < 0.5),
        "configuration": CompletenessConfig().model_dump(mode="json"),
        "units": {name: q.unit for name, q in QUANTITIES.items()},
        "words": {name: q.words for name, q in QUANTITIES.items()},
        "made": 600, "scored": 600, "failures": {"not_injected": {"masked": 3}, "not_scored": 0},
        "without_arc": {"fraction": 0.02, "low": 0.01, "high": 0.04, "gained": 290, "lost": 2, "p_value": 1e-9},
        "population": {"words": "lenses of a made-up set"},
        "selection_function": {"file": "x.json", "fit_chi2_per_cell": 1.02},
        "not_shown": ["A marginal is an average."],
    }  # fmt: skip
    write_json(folder / "completeness/completeness.json", completeness)
    function = SelectionFunction(
        names=("seeing",), mean=np.array([1.3]), scale=np.array([0.2]), low=np.array([0.8]), high=np.array([2.0]),
        coefficients=np.array([0.0, -1.0, 0.0]), replicas=np.zeros((3, 3)), population=np.array([[1.3]]), about={},
    )  # fmt: skip
    ra, dec = np.meshgrid(np.arange(10, 12, 0.25), np.arange(0, 2, 0.25))
    bricks = pd.DataFrame({"ra": ra.ravel(), "dec": dec.ravel(), "psfdepth_r": 24.0, "ebv": 0.02})
    bricks["psfsize_r"] = np.linspace(1.0, 1.6, len(bricks))
    sky = completeness_map(function, conditions_of_bricks(bricks))
    write_map(folder / "completeness/completeness-map.fits", sky, function)
    offender = {"source_id": "1_1_200", "value": 2.0, "selected": True}
    ring = {"class": "ring", "n": 40, "selected": 2, "fpr": 0.05, "fpr_low": 0.006, "fpr_high": 0.17}
    threshold = validation["recall"][1]["threshold"]
    contaminants = {"classes": [{**ring, "offenders": [offender]}], "threshold": threshold, "not_shown": ["Classes."]}
    write_json(folder / "contaminants/contaminants.json", contaminants)
    gate = {"gate": "depth", "verdict": "pass", "value": 0.5, "limit": 0.6}
    write_json(folder / "gates.json", {"gates": [gate], "split": "train"})
    images = 0.005 * rng.normal(size=(n_lens + 100, 3, 33, 33)).astype("f4")
    write_store(folder / "store", sample.loc[: n_lens + 99, ["source_id", "ra", "dec"]], images)
    network = Checkpoint(
        network="compact", state=build_network("compact", seed=1).state_dict(),
        preprocessing=Preprocessing(stamp=33), sample_hash="x",
    )  # fmt: skip
    save_checkpoint(folder / "best.pt", network)
    return folder


def whole(results, out):
    return [
        "validate", "page", str(results / "validation"), "--shortcuts", str(results / "shortcuts"),
        "--controls", str(results / "controls.json"), "--completeness", str(results / "completeness"),
        "--contaminants", str(results / "contaminants"), "--gates", str(results / "gates.json"),
        "--store", str(results / "store"), "--checkpoint", str(results / "best.pt"), "--out", str(out), "--json",
    ]  # fmt: skip


def test_the_verb_writes_page_and_numbers(results, tmp_path) -> None:
    out = tmp_path / "page.html"
    answer = CliRunner().invoke(app, whole(results, out))
    assert answer.exit_code == 0, answer.output
    lights = json.loads(answer.stdout)["lights"]
    assert list(lights) == [
        "trust", "holdouts", "threshold", "probability", "sample", "shortcuts", "contaminants", "completeness",
    ]  # fmt: skip
    assert lights["completeness"]["level"] == "green"
    page = out.read_text(encoding="utf-8")
    numbers = json.loads(out.with_suffix(".json").read_text())
    embedded = re.search(r'id="numbers">(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    assert json.loads(embedded[1]) == numbers
    assert "AUC &lt;of&gt; something" in page  # text of results is escaped
    assert page.count("<img") == 8  # seven figures and an offender
    assert "http" not in re.sub(r'"data:[^"]*"', "", page.split('<script type="application/json"')[0])


def test_what_was_not_measured_is_said_to_be_missing(results, tmp_path) -> None:
    numbers = write_page(tmp_path / "bare.html", read_page_inputs(results / "validation", title="Bare"))
    assert {numbers["lights"][name]["level"] for name in ("sample", "shortcuts", "contaminants", "completeness")} == {
        "amber"
    }
    assert "which lenses are missed" in numbers["not_shown"][-1]
    assert 'id="completeness"' in (tmp_path / "bare.html").read_text()


def test_results_that_do_not_belong_together_are_refused(results, tmp_path) -> None:
    with pytest.raises(FileProblem, match="no such result"):
        read_page_inputs(tmp_path / "absent", title="x")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(FileProblem, match="not a JSON document"):
        read_page_inputs(tmp_path / "broken.json", title="x")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(FileProblem, match="not a result"):
        read_page_inputs(tmp_path / "list.json", title="x")
    write_json(tmp_path / "old.json", {"recall": []})
    with pytest.raises(FileProblem, match="has no recommended"):
        read_page_inputs(tmp_path / "old.json", title="x")
    write_json(tmp_path / "other.json", {"sample_hash": "other", "tests": []})
    with pytest.raises(InputError, match="of another sample"):
        read_page_inputs(results / "validation", title="x", shortcuts=tmp_path / "other.json")


PROBE = """<script>
addEventListener("load", () => {
  const broken = [...document.images].filter(image => !(image.complete && image.naturalWidth > 0)).length;
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const asked = [...document.querySelectorAll("[src], link[href]")].filter(
    element => !(element.src || element.href).startsWith("data:")).length;
  const lights = document.querySelectorAll("section .light").length;
  document.body.setAttribute("data-probe", JSON.stringify(
    {images: document.images.length, broken, wide, asked, lights}));
});
</script></body>"""


def in_browser(page, folder):
    """Return what a probe in the page finds, and what the browser logs."""
    path = folder / "probed.html"
    path.write_text(page.replace("</body>", PROBE), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
               "--window-size=500,900", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000",
               "--dump-dom", path.as_uri()]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-probe="([^"]*)"', result.stdout)
    assert found is not None
    return json.loads(found[1].replace("&quot;", '"')), result.stderr


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine")
def test_the_page_in_a_browser(results, tmp_path) -> None:
    out = tmp_path / "page.html"
    assert CliRunner().invoke(app, whole(results, out)).exit_code == 0
    page = out.read_text(encoding="utf-8")
    found, logged = in_browser(page, tmp_path)
    assert found == {"images": 8, "broken": 0, "wide": 0, "asked": 0, "lights": 8}
    assert "CONSOLE" not in logged
    # The probe can fail: a figure cut short, a script that throws, a picture from elsewhere, a section without a light.
    spoiled = re.sub(r'(<img src="data:image/[a-z+]+;base64,[^"]{40})[^"]*"', r'\1"', page, count=1)
    spoiled = spoiled.replace("</main>", '<img src="elsewhere.png" alt=""><script>throw new Error("x")</script></main>')
    spoiled = re.sub(r'<p class="light [a-z]+">', '<p class="soft">', spoiled, count=1)
    found, logged = in_browser(spoiled, tmp_path)
    assert (found["images"], found["broken"], found["lights"]) == (9, 2, 7)
    assert found["asked"] == 1
    assert "CONSOLE" in logged


# ---- lights ----


def _validation(threshold=1.0, basis="measured", method="platt", chi2=8.0):
    return {
        "recommended": {"threshold": threshold, "basis": basis, "budget": 100, "note": "few"},
        "calibration": {"method": method, "chi2": chi2, "bins": 10, "note": "one class"},
    }


def test_lights_of_threshold_and_probability() -> None:
    assert threshold_light(_validation()).level == "green"
    assert threshold_light(_validation(basis="extrapolated")).level == "amber"
    assert threshold_light(_validation(threshold=None)).level == "red"
    assert probability_light(_validation()).level == "green"
    assert probability_light(_validation(chi2=20.0)).level == "amber"
    assert probability_light(_validation(chi2=31.0)).level == "red"
    assert probability_light(_validation(method=None)).level == "amber"


def _bricks(shared=(40, 900), unseen=(40, 900), recalls=(0.5, 0.5), p_value=0.9, cell=0, rate=0.1):
    def part(counts, recall):
        return {"lenses": counts[0], "non_lenses": counts[1], "recall": recall}

    known, new = part(shared, recalls[0]), part(unseen, recalls[1])
    rows = [{"unit": "brick", "fpr_target": rate, "shared": known, "unseen": new, "p_value": p_value}]
    rows.append({"unit": "cell", "fpr_target": rate, "shared": part((cell, 0), None), "unseen": new, "p_value": None})
    return {"by_unit": rows, "recall": [{"fpr_target": 0.1, "measurable": True}]}


@pytest.mark.parametrize(
    ("validation", "level", "why"),
    [
        (_bricks(shared=(0, 0), p_value=None), "green", "No brick or sky cell"),
        (_bricks(), "green", "no higher recall"),
        (_bricks(shared=(5, 900)), "amber", "too few lenses"),
        (_bricks(recalls=(0.8, 0.4), p_value=0.001), "red", "0.80 in bricks that training knows and 0.40"),
        (_bricks(recalls=(0.4, 0.8), p_value=0.001), "green", "no higher recall"),
        (_bricks(cell=3), "red", "sky cells that training knows"),
        (_bricks(rate=1e-4), "amber", "no rate can be measured"),
        (_bricks(rate=1e-4, shared=(0, 0), p_value=None), "green", "No brick or sky cell"),
        ({"by_unit": [], "recall": []}, "amber", "Not known"),
    ],
)
def test_light_of_holdouts(validation, level, why) -> None:
    light = holdouts_light(validation)
    assert (light.level, why in light.why) == (level, True), light


def test_lights_of_shortcuts() -> None:
    good = {"tests": [{"test": "core only", "verdict": "pass"}]}
    bad = {"tests": [{"test": "core only", "verdict": "fail"}]}
    doubtful = {"tests": [{"test": "core only", "verdict": "unclear"}]}
    controls = {"as_expected": True}
    assert shortcuts_light(None, None).level == "amber"
    assert shortcuts_light(good, None).level == "amber"
    assert shortcuts_light(good, controls).level == "green"
    assert shortcuts_light(doubtful, controls).level == "amber"
    assert shortcuts_light(bad, controls).level == "red"
    assert shortcuts_light(good, {"as_expected": False}).level == "red"


@pytest.mark.parametrize(("low", "high", "level"), [(0.0, 0.05, "green"), (0.05, 0.3, "amber"), (0.2, 0.4, "red")])
def test_light_of_contaminants(low, high, level) -> None:
    rows = {"classes": [{"class": "ring", "fpr_low": low, "fpr_high": high}]}
    assert contaminants_light(rows, 0.01).level == level
    assert contaminants_light(rows, None).level == "amber"
    assert contaminants_light(None, 0.01).level == "amber"


def _completeness(p_value=1e-6, failed=0, chi2=1.0, value=0.35, file="f"):
    return {
        "tables": {"total": {"completeness": value, "n": 10}},
        "without_arc": {"p_value": p_value}, "failures": {"not_scored": failed}, "made": 1000,
        "selection_function": {"file": file, "fit_chi2_per_cell": chi2},
    }  # fmt: skip


def test_light_of_completeness() -> None:
    assert completeness_light(None).level == "amber"
    assert completeness_light(_completeness()).level == "green"
    assert completeness_light(_completeness(value=None)).level == "amber"
    assert completeness_light(_completeness(p_value=0.3)).level == "red"
    assert completeness_light(_completeness(failed=5)).level == "red"
    assert completeness_light(_completeness(file=None)).level == "amber"
    assert completeness_light(_completeness(chi2=2.0)).level == "amber"
    assert "how well the selection function fits" in completeness_light(_completeness(chi2=None)).why
