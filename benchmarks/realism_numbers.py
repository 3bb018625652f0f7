"""What the realism instrument is worth, measured on arcs whose truth is known, and the figures of docs/realism.md.

    python benchmarks/realism_numbers.py [--n 260] [--controls 1200] [--real ../shared/real] [--out benchmarks/results]

On a control sky in memory: recovered flux and color, false alarms of galaxies without arcs, the brightness factor of
sets made too bright, the problem statement's statistic with arcs switched off. With --real also real red galaxies of
DES as hosts, with sources of fixed magnitude behind them.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from legacylens.cutouts.decode import read_cutouts
from legacylens.mocks.injection import host_psf, inject_row
from legacylens.mocks.measured_hosts import with_measured_invvar
from legacylens.mocks.population_sets import SETS, InjectionConfig
from legacylens.realism.audit import brightness_factor
from legacylens.realism.compare import area, column
from legacylens.realism.control_sky import draw_hosts, inject_set, stamps_of_hosts
from legacylens.realism.measure import Stamps, measure_stamps
from legacylens.realism.null import calibrate, null_model
from legacylens.realism.reference import packaged_reference
from legacylens.realism.statement import statement_statistics
from legacylens.survey.bands import BANDS

FACTORS = (1.0, 2.5, 10.0, 28.0, 110.0)
CLEAR = 10.0


def spread(values):
    values = np.asarray(values, float)
    low, middle, high = np.nanpercentile(values, [16, 50, 84])
    return {"low": float(low), "median": float(middle), "high": float(high), "n": int(np.isfinite(values).sum())}


def recovery(table, truth):
    """Flux and color of clear arcs over the truth."""
    clear = ((table["code"] == "ok") & (table["lens_snr"] > CLEAR)).to_numpy()
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


def on_real_hosts(folder, rng):
    """Area under the ROC curve of arc scores on real red galaxies, for unlensed sources of fixed magnitude."""
    hosts = [with_measured_invvar(one) for one in read_cutouts(Path(folder) / "des-lrg" / "des_lrg_grizY.fits")]
    fwhm = (1.12, 0.96, 0.92)
    hosts = [one for one in hosts if set(BANDS) <= set(one.bands)]
    planes = [[one.bands.index(band) for band in BANDS] for one in hosts]
    images = np.stack([one.image[p] for one, p in zip(hosts, planes, strict=True)])
    invvars = np.stack([np.asarray(one.invvar)[p] for one, p in zip(hosts, planes, strict=True)])
    sizes = np.broadcast_to(fwhm, (len(hosts), 3))
    scale = hosts[0].pixscale

    def measured(pixels, weights):
        names = [f"lrg{k}" for k in range(len(pixels))]
        return measure_stamps(Stamps(names=names, images=pixels, invvars=weights, fwhm=sizes, pixscale=scale))

    plain = measured(images, invvars)
    psf = host_psf(InjectionConfig(), fwhm, pixscale=scale)
    lonely = plain["n_neighbors"].to_numpy() == 0
    result = {"hosts": len(hosts), "lonely": int(lonely.sum())}
    for mag in (22.0, 23.0, 24.0, 25.0):
        pixels, weights = images.copy(), invvars.copy()
        for number, host in enumerate(hosts):
            bare = type(host)(
                source_id=host.source_id,
                ra=host.ra,
                dec=host.dec,
                bands=BANDS,
                image=images[number],
                invvar=invvars[number],
                pixscale=scale,
            )
            theta = float(rng.lognormal(np.log(1.35), 0.2))
            # mu > 2.5 behind a round lens is within 0.8 theta_E of the center.
            beta, angle = theta * 0.8 * np.sqrt(rng.random()), 2 * np.pi * rng.random()
            row = {
                "theta_E": theta,
                "mass_q": 0.78,
                "mass_phi": np.pi * rng.random(),
                "mass_x": 0.0,
                "mass_y": 0.0,
                "gamma1": 0.03 * rng.normal(),
                "gamma2": 0.03 * rng.normal(),
                "z_l": 0.5,
                "z_s": 1.8,
                "source_mag_g": mag + 0.1,
                "source_mag_r": mag,
                "source_mag_z": mag - 0.3,
                "source_r_e": 0.3,
                "source_n": 1.0,
                "source_q": 0.7,
                "source_phi": np.pi * rng.random(),
                "source_x": beta * np.cos(angle),
                "source_y": beta * np.sin(angle),
            }
            made = inject_row(
                bare,
                row,
                psf,
                sources=SETS["calibrated"].sources,
                config=InjectionConfig(),
                ebv=0.0,
                seed=number,
                check=False,
            )
            pixels[number], weights[number] = made.image, made.invvar
        arcs = measured(pixels, weights)
        result[f"r={mag:.0f}"] = {
            name: {
                "all": area(column(arcs, name), column(plain, name))[0],
                "lonely": area(column(arcs[lonely], name), column(plain[lonely], name))[0],
            }
            for name in ("arc_score", "lens_snr", "peak_snr", "aperture_snr", "statement_arc_snr")
        }
    return result


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=260)
    parser.add_argument("--controls", type=int, default=1200)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--figures", type=Path, default=Path("docs/figures"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(31)
    hosts = draw_hosts(options.n, rng)
    result, rows = {"n": options.n}, []
    for factor in FACTORS:
        config = SETS["calibrated"].model_copy(update={"injection": InjectionConfig(flux_factor=factor)})
        made = inject_set(hosts, config, 32)
        start = time.process_time()
        table = measure_stamps(made.stamps)
        if factor == 1.0:
            result["cutouts_per_cpu_second"] = len(table) / (time.process_time() - start)
            result["recovery"] = recovery(table, made.truth)
            on = statement_statistics(made.stamps.images[:, 1], 0.262)[0]
            index = {cutout.source_id: number for number, cutout in enumerate(hosts.cutouts)}
            bare = np.stack([hosts.cutouts[index[name]].image[1] for name in made.truth["host_source_id"]])
            off = statement_statistics(bare, 0.262)[0]
            result["statement"] = {"with_arcs": spread(on), "arcs_switched_off": spread(off), "area": area(on, off)[0]}
        good = table[table["code"] == "ok"]
        b = brightness_factor(good, packaged_reference().at(1.0), rng)
        rows.append({"true": factor, "value": b.value, "low": b.low, "high": b.high, "n": len(good)})
        print(rows[-1], flush=True)
    result["brightness_factor"] = rows
    result["false_alarms"] = false_alarms(options.controls, rng)
    if options.real is not None:
        result["des-lrg"] = on_real_hosts(options.real, rng)
        candidates = measure_stamps(_stamps(read_cutouts_of(options.real / "ls-dr10-candidates")))
        names = ["source_id", "arc_score", "peak_snr", "lens_snr", "arc_mag_g", "arc_g_r", "statement_arc_snr"]
        result["ls-dr10-candidates"] = json.loads(pd.DataFrame(candidates)[names].round(2).to_json(orient="records"))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "realism.json").write_text(json.dumps(result, indent=2) + "\n")
    options.figures.mkdir(parents=True, exist_ok=True)
    statement_figure(on, off).savefig(options.figures / "realism-statement.png", dpi=110)
    factor_figure(rows).savefig(options.figures / "realism-brightness.png", dpi=110)
    print(json.dumps(result, indent=2))


def read_cutouts_of(folder):
    return [cutout for path in sorted(Path(folder).glob("*.npz")) for cutout in read_cutouts(path)]


def _stamps(cutouts):
    images = np.stack([cutout.image for cutout in cutouts])
    return Stamps(names=[cutout.source_id for cutout in cutouts], images=images)


if __name__ == "__main__":
    main()
