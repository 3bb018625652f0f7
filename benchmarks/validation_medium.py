"""Every verb of `legacylens validate` on a finished search of a mock sky, with one result file for all of it.

    legacylens quickstart --size medium --out medium/
    python benchmarks/validation_medium.py medium/ --work work/ [--injections 2000] [--result FILE] [--docs docs]

The folder is that of `legacylens run` or `quickstart`. Labels of contaminants are given by the truth of the mock sky,
as people would have given them: rings, spirals, mergers, edge-ons, irregulars and dust lanes. The random catalog is
made of the coadds. Thresholds are those of the validation split; the sealed split was opened by the search itself.
"""

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from legacylens.cli.main import app
from legacylens.files import write_json, write_text
from legacylens.models.packaged import packaged_checkpoint
from legacylens.survey.release import Release
from legacylens.testing.randoms import write_randoms

CLASSES = {
    "ring": "ring", "spiral": "spiral", "merger": "merger", "edge-on": "edge-on", "irregular": "irregular",
    "dust-lane": "dust lane",
}  # fmt: skip
"""Kinds of galaxies of the mock sky that people confuse with lenses, and what they call them."""
Verb = Callable[..., dict[str, Any]]


def folder_of(search: Path, step: str) -> Path:
    """Return the folder of a step: ``05-samples`` or ``samples``."""
    found = sorted(path for path in search.glob(f"*{step}") if path.name.lstrip("0123456789-") == step)
    if len(found) != 1:
        raise SystemExit(f"{search} has {len(found)} folders of the step {step}; give the folder of a finished search")
    return found[0]


def cpu_seconds() -> float:
    """Return the processor time of this process and of those that it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def recorded(commands: list[dict[str, Any]], places: dict[Path, str]) -> Verb:
    """Return a function that runs a verb and notes its command line and what it cost."""

    def in_words(word: object) -> str:
        text = str(word)
        for path, name in places.items():
            text = text.replace(str(path), name)
        return text

    def run(*words: object) -> dict[str, Any]:
        start, cpu = time.perf_counter(), cpu_seconds()
        answer = CliRunner().invoke(app, [*(str(word) for word in words), "--json"], catch_exceptions=False)
        if answer.exit_code:
            raise SystemExit(f"legacylens {' '.join(map(str, words))} ended with {answer.exit_code}: {answer.output}")
        commands.append(
            {
                "command": "legacylens " + " ".join(in_words(word) for word in words),
                "seconds": round(time.perf_counter() - start, 1),
                "cpu_seconds": round(cpu_seconds() - cpu, 1),
            }
        )
        return dict(json.loads(answer.stdout))

    return run


def listed_contaminants(truth: Path, out: Path) -> Path:
    """Write the galaxies that people would have called rings, spirals and so on, as a list; return its path."""
    galaxies = pd.read_parquet(truth / "galaxies.parquet", columns=["ra", "dec", "kind"])
    named = galaxies[galaxies["kind"].isin(list(CLASSES))]
    out.parent.mkdir(parents=True, exist_ok=True)
    named.assign(**{"class": named["kind"].map(CLASSES)})[["ra", "dec", "class"]].to_csv(out, index=False)
    return out


def walk(
    search: Path,
    work: Path,
    *,
    truth: Path | None = None,
    injections: int = 2000,
    arcs: int = 200,
    workers: int = 2,
    fpr: float = 0.01,
    fprs: tuple[float, ...] = (),
    controls: Path | None = None,
    density: float = 20_000.0,
    packaged: bool = True,
) -> dict[str, Any]:
    """Run every verb of the validation on a finished search.

    Parameters
    ----------
    search
        Its folder; nothing in it is changed.
    work
        Where everything is written.
    truth
        Truth of the mock sky; by default that of the search.
    injections, arcs
        Lenses injected for the completeness, and for the shortcut tests.
    workers
        Processes of the injections.
    fpr
        False-positive rate whose threshold is used.
    fprs
        Rates that are measured, if not the usual ones: a tiny sky has too few non-lenses for any of these.
    controls
        Result of `legacylens validate controls`.
    density
        Random points for each square degree of the mock sky.
    packaged
        Whether the packaged network is tested with injections as well.

    Returns
    -------
    results
        What each verb said, by its name, and ``commands`` with their cost.
    """
    commands: list[dict[str, Any]] = []
    other = packaged_checkpoint()
    places = {work: "work", search: "search", other: "packaged.pt"}
    run = recorded(commands, places | ({controls: "controls.json"} if controls else {}))
    mocks, parent, samples = (folder_of(search, step) for step in ("mocks", "parent", "samples"))
    store, scan = folder_of(search, "cutouts") / "store", folder_of(search, "scan")
    network, known = folder_of(search, "train") / "best.pt", folder_of(search, "known-lenses")
    release = Release.open(mocks / "release")
    work.mkdir(parents=True, exist_ok=True)
    n_points = write_randoms(release, work / "randoms-1-0.fits", density=density, rng=np.random.default_rng(5))
    listed = listed_contaminants(truth or mocks / "truth", work / "contaminants.csv")

    results: dict[str, Any] = {"random_points": n_points}
    gates = folder_of(search, "gates") / "gates.json"
    results["gates"] = json.loads(gates.read_text(encoding="utf-8"))
    how: tuple[object, ...] = ()
    if fprs:
        write_text(work / "rates.toml", f"fprs = {list(fprs)}\n")
        how = ("--config", work / "rates.toml")
    results["report"] = run("validate", "report", scan, samples, *how, "--out", work / "validation")
    results["bricks"] = run("validate", "report", scan, samples, *how, "--whole-bricks", "--out", work / "bricks")
    judged = ("--validation", work / "validation", "--fpr", fpr)
    results["shortcuts"] = run(
        "validate", "shortcuts", network, store, samples, "--parent", parent, "--injections", arcs,
        "--out", work / "shortcuts",
    )  # fmt: skip
    run("contaminants", "--list", listed, "--known", known, "--out", work / "listed")
    results["contaminants"] = run(
        "validate", "contaminants", scan, work / "listed", parent, *judged, "--sample", samples, "--store", store,
        "--out", work / "contaminants",
    )  # fmt: skip
    results["completeness"] = run(
        "validate", "completeness", network, store, parent, *judged, "--sample", samples, "--n", injections,
        "--workers", workers, "--release", release.root, "--out", work / "completeness",
    )  # fmt: skip
    if results["completeness"]["map"] is not None:
        results["map"] = run(
            "validate", "map", work / "completeness", "--randoms", work / "randoms-1-0.fits",
            "--out", work / "random-map.fits",
        )  # fmt: skip
    run("scan", store, "--checkpoint", other, "--no-symmetries", "--out", work / "other-scan")
    run("validate", "report", work / "other-scan", samples, *how, "--out", work / "other")
    results["compare"] = run("validate", "compare", work / "validation", work / "other")
    results["other_shortcuts"] = run(
        "validate", "shortcuts", other, store, samples,
        *(("--parent", parent, "--injections", arcs) if packaged else ()), "--out", work / "other-shortcuts",
    )  # fmt: skip
    best = max(results["report"]["lens_values"].items(), key=lambda item: item[1])[0]
    results["saliency"] = run("validate", "saliency", network, store, best, "--out", work / "saliency.png")
    shown = ["--shortcuts", work / "shortcuts", "--completeness", work / "completeness", "--gates", gates]
    shown += ["--contaminants", work / "contaminants", "--store", store, "--checkpoint", network]
    shown += ["--controls", controls] if controls else []
    results["page"] = run("validate", "page", work / "validation", *shown, "--out", work / "validation.html")
    return {**results, "commands": commands}


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers that are kept: rows and totals, no scores of single objects and no paths."""
    report, completeness = results["report"], results["completeness"]

    def tests(result: dict[str, Any]) -> list[dict[str, Any]]:
        kept = ("test", "verdict", "value", "low", "high", "limit", "wrong", "detail")
        return [{key: row[key] for key in kept} for row in result["tests"]]

    return {
        "validation": {
            key: report[key]
            for key in (
                "split", "counts", "recall", "challenge", "by_grade", "by_channel", "by_list", "by_unit",
                "recommended", "calibration", "not_shown", "sample_hash", "scores_hash", "definition_hash", "auc",
            )
        },
        "whole_bricks": {key: results["bricks"][key] for key in ("counts", "recall")},
        "gates": {
            "verdict": results["gates"]["verdict"],
            "gates": [
                {key: row[key] for key in ("gate", "verdict", "value", "limit")} for row in results["gates"]["gates"]
            ],
        },
        "shortcuts": {"verdict": results["shortcuts"]["verdict"], "tests": tests(results["shortcuts"])},
        "shortcuts_of_the_packaged_network": {
            "verdict": results["other_shortcuts"]["verdict"],
            "tests": tests(results["other_shortcuts"]),
        },
        "contaminants": {
            **{key: results["contaminants"][key] for key in ("threshold", "all", "counts", "trained_on")},
            "classes": [
                {key: value for key, value in row.items() if key != "offenders"}
                for row in results["contaminants"]["classes"]
            ],
        },
        "completeness": {
            key: completeness[key]
            for key in (
                "threshold", "population", "asked", "made", "scored", "failures", "tables", "without_arc",
                "selection_function", "map", "seconds",
            )
        },
        "map_of_random_points": {k: v for k, v in results.get("map", {}).items() if k not in ("map", "picture")},
        "compare": results["compare"]["rows"],
        "lights": results["page"]["lights"],
        "commands": results["commands"],
    }  # fmt: skip


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _range(row: dict[str, Any], name: str, digits: int = 2) -> str:
    return f"{row[name]:.{digits}f} ({row[f'{name}_low']:.{digits}f} – {row[f'{name}_high']:.{digits}f})"


def as_markdown(record: dict[str, Any]) -> str:
    """Return the tables of the documentation."""
    v, c, sky = record["validation"], record["completeness"], record["map_of_random_points"]
    by_brick = {row["fpr_target"]: row["unseen"] for row in v["by_unit"] if row["unit"] == "brick"}
    lines = [
        "| rate | recall | by resampled cells | in bricks that training does not know | |",
        "|---|---|---|---|---|",
    ]
    for row in v["recall"]:
        unseen = by_brick[row["fpr_target"]]
        by_cells = "–" if row["sky"] is None else f"{row['sky']['recall_low']:.2f} – {row['sky']['recall_high']:.2f}"
        note = "" if row["measurable"] else "not measurable"
        lines.append(
            f"| {row['fpr_target']:g} | {_range(row, 'recall')} | {by_cells} | {_range(unseen, 'recall')} | {note} |"
        )
    best = v["recommended"]
    lines += ["", "| section | light | |", "|---|---|---|"]
    lines += [f"| {name} | {light['level']} | {light['why']} |" for name, light in record["lights"].items()]
    lines += ["", "| shortcut test | this network | the packaged one | limit |", "|---|---|---|---|"]
    packaged = {row["test"]: row for row in record["shortcuts_of_the_packaged_network"]["tests"]}
    for row in record["shortcuts"]["tests"]:
        cells = []
        for each in (row, packaged[row["test"]]):
            value = "–" if each["value"] is None else f"{each['value']:.2f} ({each['low']:.2f} – {each['high']:.2f})"
            cells.append(f"{each['verdict']}, {value}")
        lines.append(f"| {row['test']} | {cells[0]} | {cells[1]} | {row['wrong']} {row['limit']:.2f} fails |")
    lines += ["", "| taken for a lens at that threshold | selected | rate |", "|---|---|---|"]
    taken = record["contaminants"]
    for row in [*taken["classes"], {"class": "all of them", **taken["all"]}]:
        lines.append(f"| {row['class']} | {row['selected']} of {row['n']:,} | {_range(row, 'fpr', 4)} |")
    total, bare, fit = c["tables"]["total"], c["without_arc"], c["selection_function"]
    lines += ["", "| Einstein radius [arcsec] | injected | completeness |", "|---|---|---|"]
    for row in c["tables"]["marginals"]["theta_E"]:
        ends = f"{row['low'] if row['low'] is not None else ''} – {row['high'] if row['high'] is not None else ''}"
        value = row["note"] if row["completeness"] is None else _range(row, "completeness")
        lines.append(f"| {ends.strip()} | {row['n']:,} | {value} |")
    lost = sum(c["failures"]["not_injected"].values())
    lines += [
        "",
        f"Of {c['scored']:,} injections {total['n_recovered']:,} were selected, "
        f"{_percent(total['completeness'])}; of the same galaxies without an arc {_percent(bare['fraction'])}. "
        f"{lost:,} could not be injected and {c['failures']['not_scored']} not be scored."
        + (
            f" The selection function describes injections that it had not seen with chi2 "
            f"{fit['fit_chi2_per_cell']:.2f} for each of {fit['fit_cells']} cells."
            if fit["file"] and fit["fit_chi2_per_cell"] is not None
            else ""
        )
        + f" It took {c['seconds']['wall'] / 60:.1f} minutes.",
    ]
    if sky:
        lines.append(
            f"Over the mock sky, by {sky['searched'] + sky['not_searched']:,} random points: "
            f"{sky['searched_deg2']:.3g} square degrees are searched, with a completeness of "
            f"{_percent(sky['completeness_p5'])} to {_percent(sky['completeness_p95'])} in nine cells of ten."
        )
    lines.append(
        f"For {best['budget']:,} inspections: "
        + (
            f"no threshold ({best['note']})."
            if best["threshold"] is None
            else f"threshold {best['threshold']:.2f} ({best['basis']}), recall {best['point']['recall']:.2f}, "
            f"{best['inspections_per_lens'] or float('nan'):.3g} inspections for each lens."
        )
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Walk, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("search", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for everything that is made")
    parser.add_argument("--truth", type=Path, help="truth of the mock sky, if it is not in the search's folder")
    parser.add_argument("--injections", type=int, default=2000)
    parser.add_argument("--arcs", type=int, default=200, help="arcs injected for the shortcut tests")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fpr", type=float, default=0.01)
    here = Path(__file__).parent
    parser.add_argument("--controls", type=Path, default=here / "results/validation_controls.json")
    parser.add_argument("--result", type=Path, default=here / "results/validation_medium.json")
    parser.add_argument("--docs", type=Path, help="folder of the documentation: tables and figures are written there")
    options = parser.parse_args()
    results = walk(
        options.search.resolve(), options.work.resolve(), truth=options.truth, injections=options.injections,
        arcs=options.arcs, workers=options.workers, fpr=options.fpr, controls=options.controls.resolve(),
    )  # fmt: skip
    sky = json.loads((folder_of(options.search, "mocks") / "provenance.json").read_text())
    record = {
        "what": "legacylens validate, every verb, on a mock sky",
        "sky": {"configuration": sky["configuration"], "seeds": sky["seeds"], "code_hash": sky["code_hash"]},
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "arguments": {key: getattr(options, key) for key in ("injections", "arcs", "workers", "fpr")},
        **summary(results),
    }
    write_json(options.result, record)
    if options.docs is not None:
        page = options.docs / "validation.md"
        before, rest = page.read_text(encoding="utf-8").split("<!-- medium -->\n")
        _, after = rest.split("<!-- /medium -->")
        write_text(page, f"{before}<!-- medium -->\n{as_markdown(record)}<!-- /medium -->{after}")
        for made, kept in (
            ("completeness/completeness.svg", "completeness.svg"),
            ("random-map.svg", "completeness-map.svg"),
        ):
            if (options.work / made).exists():
                write_text(options.docs / "figures" / kept, (options.work / made).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
