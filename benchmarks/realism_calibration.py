"""Does a calibration find a population that only we know, from a start that is 3 mag too bright?

    python benchmarks/realism_calibration.py [--workers 2] [--cache FOLDER] [--out benchmarks/results]

On a control sky in memory. Observed are lenses of a hidden population, a tenth of them wrong labels; the start has its
sources and the S/N at which they are found 3 mag brighter than the published ones. What is measured: every parameter
against its truth in standard deviations; the gate on the start and on the calibrated set, both against other lenses of
the hidden population; the same for other hidden populations near it; and sets with faults: a PSF that no parameter can
take away, which has to be called misspecified, and colors that parameters may stand for. Half an hour on two cores;
measured mocks are kept in --cache.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from legacylens.files import sha256_of_text, write_json
from legacylens.mocks.population_sets import SETS, InjectionConfig
from legacylens.plots.realism_calibrate import check_figure, posterior_figure
from legacylens.provenance import code_hash, git_commit
from legacylens.realism.calibrate import calibrate
from legacylens.realism.calibrate_config import CONTAMINATION, PARAMETERS, CalibrationConfig, moved
from legacylens.realism.calibrate_run import control_bank, control_galaxies
from legacylens.realism.calibrate_weights import Bank, effective, weights_of_set
from legacylens.realism.compare import matched_ratio
from legacylens.realism.control_sky import draw_hosts, inject_set
from legacylens.realism.gate import Sample, gate, sample_of
from legacylens.realism.gate_config import GateConfig
from legacylens.realism.measure import measure_stamps

TOO_BRIGHT = 3.0
"""By how much the start's arcs are too bright [mag]."""
HIDDEN = {
    "sources.r_bright": 21.0,
    "sources.counts_slope": 0.34,
    "sources.evolved_fraction": 0.5,
    "sources.uv_slope_shift": 0.3,
    "sources.radius_kpc": 2.3,
    "deflectors.theta_E_median": 1.22,
    "deflectors.theta_E_scatter": 0.32,
    "selection.snr": 24.0,
    "selection.snr_width": 0.15,
    CONTAMINATION: 0.1,
}
"""The hidden population."""


def start_set():
    """The published population with sources, and the S/N at which they are found, 3 mag brighter."""
    published = SETS["calibrated"]
    return moved(
        published,
        {
            "sources.r_bright": published.sources.r_bright - TOO_BRIGHT,
            "selection.snr": published.selection.snr * 10.0 ** (0.4 * TOO_BRIGHT),
        },
        name="start",
    )


def kept(folder, make):
    """Return a maker of banks that keeps what it made in a folder."""

    def made(config, n, seed):
        key = sha256_of_text(f"{config.model_dump_json()} {n} {seed}")[:16]
        paths = [folder / f"{key}-{part}.parquet" for part in ("truth", "table")]
        if not all(path.exists() for path in paths):
            bank = make(config, n, seed)
            folder.mkdir(parents=True, exist_ok=True)
            bank.truth.to_parquet(paths[0])
            bank.table.to_parquet(paths[1])
        return Bank(truth=pd.read_parquet(paths[0]), table=pd.read_parquet(paths[1]), config=config)

    return make if folder is None else made


def observed(config, contamination, n, seed, make, galaxies):
    """Return n labels: measured lenses of a population with wrong ones among them."""
    rng = np.random.default_rng([seed, 1])
    wrong = int(rng.binomial(n, contamination))
    lenses = make(config, n, seed).table.iloc[: n - wrong]
    return pd.concat([lenses, galaxies.sample(wrong, random_state=seed)], ignore_index=True)


def gate_set(config, n, seed, folder):
    """Return a set of a population as a gate takes it: measured, with what it sees of the pictures."""
    key = sha256_of_text(f"gate {config.model_dump_json()} {n} {seed}")[:16]
    table, arrays = (None, None) if folder is None else (folder / f"{key}.parquet", folder / f"{key}.npz")
    if arrays is not None and arrays.exists():
        kept_arrays = np.load(arrays)
        return Sample(table=pd.read_parquet(table), embedding=kept_arrays["embedding"], pixels=kept_arrays["pixels"])
    made = inject_set(draw_hosts(round(1.25 * n), np.random.default_rng([seed, 2])), config, seed)
    sample = sample_of(measure_stamps(made.stamps), made.stamps.images)
    if arrays is not None:
        sample.table.to_parquet(table)
        np.savez(arrays, embedding=sample.embedding, pixels=sample.pixels)
    return sample


def judged(sims, real):
    n = min(400, len(sims), len(real))
    result = gate(sims.part(np.arange(n)), real.part(np.arange(n)), GateConfig(n=n, real_real=False))
    bad = {t.test: t.value for t in result.tests if t.verdict not in ("pass", "not run")}
    return {"verdict": result.verdict, "n": n, "not_passed": bad}


def recovered(result, truth):
    """Every parameter with its truth, and how far it is from it in standard deviations of the posterior."""
    rows = []
    for e in result.estimates:
        draws = result.draws[e.name].to_numpy()
        # As a normal deviate of the rank of the truth: posteriors need not be symmetric.
        mean, sd = draws.mean(), draws.std()
        rows.append(
            {
                "parameter": e.name,
                "start": e.start,
                "truth": truth[e.name],
                "median": e.median,
                "low": e.low,
                "high": e.high,
                "sigma": float((truth[e.name] - mean) / sd),
                "rank": float((draws < truth[e.name]).mean()),
            }
        )
    return rows


def near(result, rng):
    """A population whose parameters lie where those of a calibration looked last, drawn evenly from the inner half."""
    by_name = {p.name: p for p in PARAMETERS}
    truth = {}
    for e in result.estimates:
        parameter = by_name[e.name]
        low, high = parameter.to_unit(np.array(e.range))
        truth[e.name] = float(parameter.from_unit(np.array(low + (high - low) * rng.uniform(0.25, 0.75))))
    return truth


class Kept:
    """Makes mocks and keeps them."""

    def __init__(self, make, later):
        self.make, self.later, self.banks = make, later, []

    def __call__(self, config, n, seed):
        self.banks.append(self.make(config, self.later if self.banks else n, seed))
        return self.banks[-1]


class Given:
    """Makes no mocks: gives those of another calibration, which are weighted to whatever is asked for."""

    def __init__(self, banks):
        self.banks = iter(banks)

    def __call__(self, *_):
        return next(self.banks)


def calibrated_again(job):
    """Calibrate on other lenses with mocks that were made before."""
    torch.set_num_threads(1)
    lenses, galaxies, start, banks, settings = job
    return calibrate(lenses, galaxies, start, Given(banks), settings)


def as_tables(document):
    """Return the result as the tables of docs/realism.md."""
    lines = ["| parameter | start | truth | found: median [16, 84 %] | off by |", "|---|---|---|---|---|"]
    for row in document["parameters"]:
        found = f"{row['median']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
        name = row["parameter"]
        lines.append(f"| `{name}` | {row['start']:.3g} | {row['truth']:.3g} | {found} | {row['sigma']:+.1f} sigma |")
    last = document["rounds"][-1]
    lines += ["", "| what | measured |", "|---|---|"]
    lines.append(f"| parameters within 2 sigma | {document['within_2_sigma']} of {len(document['parameters'])} |")
    check = document["check"]
    lines.append(
        f"| verdict; p of what was learned from, of what was held out | {document['verdict']}; "
        f"{check['p_learned']:.2g}, {check['p_held_out']:.2g} |"
    )
    lines.append(
        f"| mocks of both rounds; what they are worth at the median | {last['mocks']}; {last['effective']:.0f} |"
    )
    for name, told in document.get("gate", {}).items():
        because = ", ".join(list(told["not_passed"])[:3])
        factor = document["brightness_factor"][name]
        lines.append(
            f"| gate on the {name} set; arcs brighter by | {told['verdict']}{f' ({because})' if because else ''}; "
            f"{factor['value']:.2f} [{factor['low']:.2f}, {factor['high']:.2f}] |"
        )
    for name, told in document.get("faulty", {}).items():
        because = ", ".join(misfit["name"] for misfit in told["check"]["misfits"][:2])
        lines.append(f"| lenses with the fault `{name}` | {told['verdict']} ({because}) |")
    if "all_pulls" in document:
        pulls = document["all_pulls"]
        lines.append(
            f"| {len(document['others'])} other populations, with this one {pulls['n']} parameters: within 1 and 2 "
            f"sigma, rms | {100 * pulls['within_1']:.0f} %, {100 * pulls['within_2']:.0f} %; {pulls['rms']:.2f} |"
        )
    if "published_set_weighted" in document:
        told = document["published_set_weighted"]
        lines.append(
            f"| {told['mocks']} mocks of the published population, weighted to the one found, are worth | "
            f"{told['effective']:.0f} |"
        )
    return "\n".join(lines)


def fill(path, name, text):
    """Put a text between the two marks of a name in a page."""
    page = path.read_text(encoding="utf-8")
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, rest = page.split(first)
    path.write_text(f"{before}{first}\n{text}\n{last}{rest.split(last)[1]}", encoding="utf-8")


FAULTS = {"psf-25-wider": 401, "gray-sources": 402}
"""Faults, and the seeds of their sets."""


def faulty(hidden, name):
    """Return the hidden population with a fault."""
    if name == "gray-sources":
        sources = hidden.sources.model_copy(update={"g_r": 0.0})
        return hidden.model_copy(update={"sources": sources})
    return hidden.model_copy(update={"injection": InjectionConfig(psf_width_factor=1.25)})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=400, help="observed lenses")
    parser.add_argument("--bank", type=int, default=2500, help="mocks of the first round")
    parser.add_argument("--later", type=int, default=8000, help="mocks of the second round")
    parser.add_argument("--simulations", type=int, default=CalibrationConfig().simulations, help="sets to learn from")
    parser.add_argument("--others", type=int, default=2, help="other hidden populations")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--cache", type=Path, help="folder in which measured mocks are kept; of one version of the code"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--figures", type=Path, default=None)
    parser.add_argument("--docs", type=Path, help="page whose table `calibration` is written anew")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.time()
    n, cache = arguments.n, arguments.cache
    make = kept(cache, control_bank(workers=arguments.workers))
    settings = CalibrationConfig(bank=arguments.bank, simulations=arguments.simulations)
    published, start = SETS["calibrated"], start_set()
    hidden = moved(published, HIDDEN, name="hidden")
    control = control_galaxies(700, 5)
    galaxies, wrong = control.iloc[:500], control.iloc[500:]
    path = arguments.out / "realism_calibration.json"
    document = {
        "observed": n,
        "bank": [arguments.bank, arguments.later],
        "simulations": arguments.simulations,
        "code": {"commit": git_commit(), "hash": code_hash(("realism", "mocks"))},
    }

    def write(**more):
        document.update(more, minutes=round((time.time() - began) / 60.0, 1))
        write_json(path, document)
        if arguments.docs is not None and "rounds" in document:
            fill(arguments.docs, "calibration", as_tables(document))
        print(json.dumps(more, indent=1), flush=True)

    mocks = Kept(make, arguments.later)
    lenses = observed(hidden, HIDDEN[CONTAMINATION], n, 101, make, wrong)
    result = calibrate(lenses, galaxies, start, mocks, settings)
    rows = recovered(result, HIDDEN)
    told = result.as_dict()
    write(
        verdict=result.verdict,
        parameters=rows,
        within_2_sigma=sum(abs(row["sigma"]) <= 2.0 for row in rows),
        **{name: told[name] for name in ("check", "rounds", "weights")},
    )
    if arguments.figures is not None:
        arguments.figures.mkdir(parents=True, exist_ok=True)
        for name, figure in (("", posterior_figure(result, HIDDEN)), ("-check", check_figure(result))):
            figure.savefig(arguments.figures / f"realism-calibration{name}.png", dpi=110, facecolor="white")

    real = gate_set(hidden, n, 201, cache)
    # With its own threshold behind galaxies of the survey's depth the start has next to no lens: arcs as bright.
    bright = published.model_copy(update={"injection": InjectionConfig(flux_factor=10.0 ** (0.4 * TOO_BRIGHT))})
    before, after = gate_set(bright, n, 202, cache), gate_set(result.config, n, 203, cache)
    rng = np.random.default_rng(1)
    write(
        gate={"start": judged(before, real), "calibrated": judged(after, real)},
        brightness_factor={
            name: dict(
                zip(("value", "low", "high"), matched_ratio(s.table, real.table, "arc_flux_r", rng), strict=True)
            )
            for name, s in (("start", before), ("calibrated", after))
        },
    )

    # Each fault gets mocks of its own second round, as the lenses of a user would.
    convicted = {}
    for name, seed in FAULTS.items():
        lenses = observed(faulty(hidden, name), 0.0, n, seed, make, wrong)
        found = calibrate(lenses, galaxies, start, Kept(make, arguments.later), settings)
        told = found.as_dict()
        convicted[name] = {part: told[part] for part in ("verdict", "check", "rounds")}
        write(faulty=convicted)

    # Others are learned from the mocks that there are.
    quick = settings.model_copy(update={"simulations": min(arguments.simulations, 3000), "passes": 2})
    rng = np.random.default_rng(77)
    truths = [near(result, rng) for _ in range(arguments.others)]
    sets = [
        observed(moved(published, truth), truth[CONTAMINATION], n, 501 + number, make, wrong)
        for number, truth in enumerate(truths)
    ]
    jobs = [(one, galaxies, start, mocks.banks, quick) for one in sets]
    others = []
    with ProcessPoolExecutor(arguments.workers) as pool:
        for number, found in enumerate(pool.map(calibrated_again, jobs)):
            others.append({"verdict": found.verdict, "parameters": recovered(found, truths[number])})
            pulls = np.array([row["sigma"] for one in [document, *others] for row in one["parameters"]])
            write(
                others=others,
                all_pulls={
                    "n": len(pulls),
                    "within_1": float(np.mean(np.abs(pulls) <= 1.0)),
                    "within_2": float(np.mean(np.abs(pulls) <= 2.0)),
                    "rms": float(np.sqrt(np.mean(pulls**2))),
                },
            )

    bank = make(published, 600, 301)
    weights = weights_of_set(bank.truth, published, result.config)
    write(published_set_weighted={"mocks": len(weights), "effective": effective(weights)})


if __name__ == "__main__":
    main()
