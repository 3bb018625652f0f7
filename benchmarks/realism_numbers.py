"""What the realism instrument is worth, measured on arcs whose truth is known, and the figures of docs/realism.md.

    python benchmarks/realism_numbers.py [--n 800] [--controls 4000] [--real ../shared/real] [--part lenses ...]

On a control sky in memory: recovered flux and color, false alarms of galaxies without arcs, the brightness factor of
sets made too bright, the problem statement's statistic with arcs switched off, speed. With --real also the DR10 cutouts
of candidates. Arcs in real galaxies: `realism_real_hosts.py`.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from legacylens.cutouts.decode import read_cutouts
from legacylens.mocks.population_sets import SETS, InjectionConfig, SourceConfig
from legacylens.realism.audit import brightness_factor
from legacylens.realism.compare import area
from legacylens.realism.control_sky import draw_hosts, inject_set, stamps_of_hosts
from legacylens.realism.measure import Stamps, fit_arcs, measure_parts, measure_stamps, refusals
from legacylens.realism.measure_config import MeasureConfig
from legacylens.realism.null import calibrate, null_model
from legacylens.realism.reference import packaged_reference
from legacylens.realism.stack import prepare
from legacylens.realism.statement import statement_statistics
from legacylens.survey.bands import BANDS

FACTORS = (1.0, 2.5, 10.0, 28.0, 110.0)
COLORS = (0.0, 0.4, 0.8, 1.2)
CLEAR = 10.0
NOTHING = 5.0
PLACE = 0.3
PARTS = ("lenses", "factors", "colors", "alarms", "speed", "candidates")


def spread(values):
    values = np.asarray(values, float)
    low, middle, high = np.nanpercentile(values, [16, 50, 84])
    return {"low": float(low), "median": float(middle), "high": float(high), "n": int(np.isfinite(values).sum())}


def at_its_place(table, truth):
    """Which arcs have the Einstein radius of their lens; what is measured elsewhere is a companion of the galaxy."""
    return np.abs(np.log(table["theta_E"].to_numpy() / truth["theta_E"].to_numpy())) < PLACE


def recovery(table, truth, some=True):
    """Flux and color of clear arcs over the truth, of all or of some."""
    clear = ((table["code"] == "ok") & (table["lens_snr"] > CLEAR)).to_numpy() & some
    out = {}
    for band in BANDS:
        out[f"flux_{band}"] = spread((table[f"arc_flux_{band}"] / truth[f"arc_flux_{band}"].to_numpy())[clear])
    with np.errstate(invalid="ignore", divide="ignore"):
        measured = -2.5 * np.log10(table["arc_flux_g"] / table["arc_flux_r"])
        true = -2.5 * np.log10(truth["arc_flux_g"] / truth["arc_flux_r"]).to_numpy()
        out["color"] = spread((measured - true)[clear])
    return out


def false_alarms(n, rng):
    """z > 3 among galaxies without arcs, each half judged by the other."""
    table = measure_stamps(stamps_of_hosts(draw_hosts(n, rng)))
    half = n // 2
    parts = [table.iloc[:half], table.iloc[half:]]
    z = [calibrate(parts[k], null_model(parts[1 - k]))["null_z"].dropna().to_numpy() for k in (0, 1)]
    z = np.concatenate(z)
    return {
        "n": len(z),
        "above_3": float(np.mean(z > 3)),
        "above_2": float(np.mean(z > 2)),
        "median": float(np.median(z)),
    }


def recovered_colors(hosts):
    """Recovered minus true g-r of clear arcs, for sources that all have one color."""
    rows = []
    for number, color in enumerate(COLORS):
        config = SETS["calibrated"].model_copy(
            update={
                "sources": SourceConfig(g_r=color),
                # Red arcs are faint in g; brighter ones show the color and not the noise.
                "injection": InjectionConfig(flux_factor=3.0),
            }
        )
        made = inject_set(hosts, config, 50 + number)
        table = measure_stamps(made.stamps)
        rows.append(
            {
                "true": color,
                **recovery(table, made.truth)["color"],
                "at_its_place": recovery(table, made.truth, at_its_place(table, made.truth))["color"],
            }
        )
    return rows


def oracle(made, bare):
    """Flux in g of clear arcs if the galaxy's light were known exactly: what the arc's own shape leaves open."""
    config = MeasureConfig()
    ratios, clear = [], []
    for start in range(0, len(bare), config.batch):
        some = slice(start, start + config.batch)
        stamps = made.stamps.part(some)
        kept = np.flatnonzero(refusals(stamps, config) == "ok")
        stamps = stamps.part(kept)
        fitted = fit_arcs(stamps, config)
        alone = prepare(stamps.images - bare[some][kept], stamps.invvars, fitted.fwhm, stamps.pixscale, config)
        truth = made.truth["arc_flux_g"].to_numpy()[some][kept]
        inside = (alone.image[:, 0] * fitted.shape.aperture).sum((1, 2)) / fitted.shape.inside
        ratios.append(inside / truth)
        clear.append(fitted.search.lens_snr > CLEAR)
    return {"the galaxy's light known exactly": spread(np.concatenate(ratios)[np.concatenate(clear)])}


def speed(stamps, workers, repeats=4):
    """Cutouts measured in a second by several processes, their templates made on the way."""
    one = time.process_time()
    measure_stamps(stamps)
    one = time.process_time() - one
    total = repeats * len(stamps.names)
    size = max(len(stamps.names) // 4, 1)
    parts = [stamps.part(slice(k, k + size)) for k in range(0, len(stamps.names), size)] * repeats
    start = time.perf_counter()
    measure_parts(parts, total, workers=workers)
    seconds = time.perf_counter() - start
    return {
        "workers": workers,
        "cutouts": total,
        "seconds": seconds,
        "cutouts_per_second": total / seconds,
        "per_cpu_second": len(stamps.names) / one,
        "load_average": os.getloadavg()[0],
    }


def statement_figure(on, off):
    figure = Figure(figsize=(6.0, 3.0), layout="constrained")
    axis = figure.subplots()
    edges = np.linspace(-2, 45, 40)
    axis.hist(on, edges, histtype="step", label="lenses")
    axis.hist(off, edges, histtype="step", linestyle="--", label="the same, arcs switched off")
    axis.set_xlabel('the statement\'s "arc S/N"')
    axis.set_ylabel("objects")
    axis.legend()
    return figure


def factor_figure(rows):
    figure = Figure(figsize=(4.2, 3.6), layout="constrained")
    axis = figure.subplots()
    true = np.array([row["true"] for row in rows])
    value = np.array([row["value"] for row in rows])
    error = np.abs(np.array([[row["low"], row["high"]] for row in rows]).T - value)
    axis.errorbar(true, value, error, fmt="o")
    axis.plot([0.7, 150], [0.7, 150], color="gray", linewidth=0.8)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("arcs made brighter by")
    axis.set_ylabel("audit's brightness factor")
    return figure


def brightened(hosts, factor):
    return inject_set(
        hosts, SETS["calibrated"].model_copy(update={"injection": InjectionConfig(flux_factor=factor)}), 32
    )


def bare_hosts(hosts, made):
    index = {cutout.source_id: number for number, cutout in enumerate(hosts.cutouts)}
    return np.stack([hosts.cutouts[index[name]].image for name in made.truth["host_source_id"]])


def lenses(hosts, options):
    """Recovery of honest arcs, what the galaxy's light costs, and the statement's statistic with arcs switched off."""
    made = brightened(hosts, 1.0)
    bare = bare_hosts(hosts, made)
    on, off = (statement_statistics(images[:, 1], 0.262)[0] for images in (made.stamps.images, bare))
    options.figures.mkdir(parents=True, exist_ok=True)
    statement_figure(on, off).savefig(options.figures / "realism-statement.png", dpi=110)
    table, without = measure_stamps(made.stamps), measure_stamps(replace(made.stamps, images=bare))
    return {
        "recovery": recovery(table, made.truth),
        "recovery_isolated": recovery(table, made.truth, (without["lens_snr"] < NOTHING).to_numpy()),
        "oracle": oracle(made, bare),
        "statement": {"with_arcs": spread(on), "arcs_switched_off": spread(off), "area": area(on, off)[0]},
    }


def factors(hosts, options):
    """The brightness factor of sets made too bright."""
    rng, rows = np.random.default_rng(33), []
    for factor in FACTORS:
        table = measure_stamps(brightened(hosts, factor).stamps)
        good = table[table["code"] == "ok"]
        b = brightness_factor(good, packaged_reference().at(1.0), rng)
        rows.append({"true": factor, "value": b.value, "low": b.low, "high": b.high, "n": len(good)})
        print(rows[-1], flush=True)
    options.figures.mkdir(parents=True, exist_ok=True)
    factor_figure(rows).savefig(options.figures / "realism-brightness.png", dpi=110)
    return {"brightness_factor": rows}


def candidates(options):
    table = measure_stamps(_stamps(read_cutouts_of(options.real / "ls-dr10-candidates")))
    names = ["source_id", "arc_score", "peak_snr", "lens_snr", "arc_mag_g", "arc_g_r", "statement_arc_snr"]
    return {"ls-dr10-candidates": json.loads(pd.DataFrame(table)[names].round(2).to_json(orient="records"))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=800)
    parser.add_argument("--controls", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--part", action="append", choices=PARTS, help="Only this; the others stay as they are.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--figures", type=Path, default=Path("docs/figures"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = options.out / "realism.json"
    result = json.loads(path.read_text()) if options.part and path.is_file() else {}
    wanted = options.part or PARTS
    hosts = draw_hosts(options.n, np.random.default_rng(31))
    made = {
        "lenses": lambda: lenses(draw_hosts(2 * options.n, np.random.default_rng(31)), options),
        "factors": lambda: factors(hosts, options),
        "colors": lambda: {"colors": recovered_colors(hosts)},
        "alarms": lambda: {"false_alarms": false_alarms(options.controls, np.random.default_rng(34))},
        "speed": lambda: {"speed": speed(brightened(hosts, 1.0).stamps, options.workers)},
        "candidates": lambda: candidates(options) if options.real is not None else {},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for part in wanted:
        result |= made[part]()
        path.write_text(json.dumps(result, indent=2) + "\n")
        print(part, "done", flush=True)


def read_cutouts_of(folder):
    return [cutout for path in sorted(Path(folder).glob("*.npz")) for cutout in read_cutouts(path)]


def _stamps(cutouts):
    images = np.stack([cutout.image for cutout in cutouts])
    return Stamps(names=[cutout.source_id for cutout in cutouts], images=images)


if __name__ == "__main__":
    main()
