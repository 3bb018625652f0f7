"""How well arcs stand out of real galaxies: galaxies of Hubble lensed behind red galaxies of DES and of KiDS-VIKING.

    python benchmarks/realism_real_hosts.py --shared ../shared/real [--per-host 2] [--out benchmarks/results]

Sources have a fixed unlensed magnitude in r and their own shapes and colors; places behind the lens are drawn until the
magnification is above 2.5. Every injected galaxy is measured against all galaxies of its kind (alone, or with
companions of r < 23 within 5 arcsec) without an arc. Intervals come from hosts drawn again with replacement.

What the files do not say was assumed: seeing of the DES coadds (medians of the survey: 1.12, 0.96, 0.92 arcsec); pixels
of the KiDS-VIKING field 0.339 arcsec (VIKING's); its seeing is that of its most compact sources.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from scipy import ndimage

from legacylens.cutouts.cutout import Cutout
from legacylens.cutouts.decode import read_cutouts
from legacylens.mocks.hst_sources import lensable, read_hst_sources
from legacylens.mocks.injection import host_psf, inject_row
from legacylens.mocks.measured_hosts import clipped_sky, with_measured_invvar
from legacylens.mocks.population_sets import SETS, InjectionConfig
from legacylens.photometry import flux_of_magnitude, magnitude
from legacylens.realism.compare import area, column
from legacylens.realism.measure import Stamps, measure_stamps
from legacylens.survey.bands import BANDS

MAGNITUDES = (22.0, 23.0, 24.0, 25.0)
MAGNIFICATION = 2.5
DES_FWHM = (1.12, 0.96, 0.92)
KIDS_SCALE = 0.339
NEIGHBORHOOD = (1.3, 5.0)
COMPANION_MAG = 23.0
STATISTICS = (
    "lens_evidence",
    "arc_score",
    "lens_snr",
    "clean_peak_snr",
    "peak_snr",
    "aperture_snr",
    "integrated_snr",
    "statement_arc_snr",
)
NEAREST_SOURCES = 16


def des_galaxies(folder):
    """The 30 red galaxies of DES in g, r, z, and the seeing that was assumed."""
    cutouts = []
    for one in read_cutouts(folder / "des-lrg" / "des_lrg_grizY.fits"):
        planes = [one.bands.index(band) for band in BANDS]
        bare = Cutout(
            source_id=one.source_id, ra=one.ra, dec=one.dec, bands=BANDS, image=one.image[planes], pixscale=one.pixscale
        )
        cutouts.append(with_measured_invvar(bare))
    return cutouts, DES_FWHM


def kids_galaxies(folder, half=36):
    """Red galaxies brighter than r = 20.8 cut from the KiDS-VIKING field, and its seeing."""
    with fits.open(folder / "kids-viking-field" / "field_grZ_left.fits") as hdus:
        planes = np.stack([np.asarray(hdus[name].data, np.float32) for name in ("G", "R", "Z")])
    planes -= np.array([clipped_sky(plane[::3, ::3])[0] for plane in planes], np.float32)[:, None, None]
    smooth = ndimage.gaussian_filter(planes[1], 1.5)
    labels, n = ndimage.label(smooth > 8.0 * 1.4826 * np.median(np.abs(smooth)))
    middles = np.array(ndimage.maximum_position(smooth, labels, np.arange(1, n + 1)))
    inside = ((middles > half) & (middles < np.array(smooth.shape) - half - 1)).all(axis=1)
    middles = middles[inside]
    offset = np.arange(-half, half + 1)
    radius = np.hypot(offset[:, None], offset) * KIDS_SCALE
    cut = np.stack([planes[:, y - half : y + half + 1, x - half : x + half + 1] for y, x in middles])
    wide, narrow = ((cut * (radius < size)).sum((2, 3)) for size in (3.0, 0.7))
    mags = magnitude(wide)
    share = narrow[:, 1] / wide[:, 1]
    bright = (mags[:, 1] > 17.0) & (mags[:, 1] < 20.8)
    # Stars are the narrowest of the bright sources: nothing puts more of its light within 0.7 arcsec.
    edge = np.percentile(share[bright], 85)
    stars = bright & (share > edge)
    fwhm = tuple(float(np.median([half_width(image[band], radius) for image in cut[stars]])) for band in range(3))
    red = (mags[:, 0] - mags[:, 1] > 0.9) & (mags[:, 1] - mags[:, 2] > 0.35)
    chosen = bright & red & (share < 0.8 * edge)
    cutouts = [
        with_measured_invvar(
            Cutout(source_id=f"kids{k}", ra=0.0, dec=0.0, bands=BANDS, image=cut[k], pixscale=KIDS_SCALE)
        )
        for k in np.flatnonzero(chosen)
    ]
    return cutouts, fwhm


def half_width(plane, radius):
    """FWHM of a star from its profile [arcsec]."""
    edges = np.arange(0.0, 2.5, 0.25)
    place = np.digitize(radius, edges)
    profile = np.array([plane[place == k].mean() for k in range(1, len(edges))])
    # A Gaussian through the two innermost rings that are below and above half of the peak.
    peak = plane[radius < 0.2].mean()
    middles = edges[:-1] + 0.125
    below = int(np.argmax(profile < 0.5 * peak))
    fraction = (profile[below - 1] - 0.5 * peak) / (profile[below - 1] - profile[below])
    return 2.0 * (middles[below - 1] + fraction * (middles[below] - middles[below - 1]))


def has_companion(cutout, fwhm):
    """Whether another source lies beside the galaxy: light that has no counterpart across the galaxy's center."""
    scale = cutout.pixscale
    width = fwhm[1] / 2.355 / scale
    smooth = ndimage.gaussian_filter(cutout.image[1], width)
    offset = (np.arange(len(smooth)) - (len(smooth) - 1) / 2.0) * scale
    radius = np.hypot(offset[:, None], offset)
    sky, sigma = clipped_sky(smooth[radius > 9.0])
    light = smooth - sky
    core = np.where(radius < 1.2, np.maximum(light, 0.0), 0.0)
    off = [(core * axis).sum() / core.sum() / scale for axis in (offset[:, None], offset[None, :])]
    turned = ndimage.shift(light[::-1, ::-1], [2.0 * value for value in off], order=3, mode="nearest")
    near = (radius > NEIGHBORHOOD[0]) & (radius < NEIGHBORHOOD[1])
    # Peak of a point source of the limiting flux behind the filter; a twist leaves some of the galaxy's light.
    limit = max(flux_of_magnitude(COMPANION_MAG) / (4.0 * np.pi * width**2), 7.0 * sigma)
    return bool((light - turned > limit + 0.25 * np.maximum(turned, 0.0))[near].any())


def lens_row(theta, mag, source, rng):
    """A lens of fixed Einstein radius and source magnitude; the source anywhere behind it."""
    beta, angle = 1.1 * theta * np.sqrt(rng.random()), 2 * np.pi * rng.random()
    color = source.magnitudes
    return {
        "theta_E": theta,
        "mass_q": float(np.clip(rng.normal(0.78, 0.1), 0.5, 0.98)),
        "mass_phi": np.pi * rng.random(),
        "mass_x": 0.0,
        "mass_y": 0.0,
        "gamma1": 0.035 * rng.normal(),
        "gamma2": 0.035 * rng.normal(),
        "z_l": 0.5,
        "z_s": 1.8,
        "source_mag_g": mag + color["g"] - color["r"],
        "source_mag_r": mag,
        "source_mag_z": mag + color["z"] - color["r"],
        "source_x": beta * np.cos(angle),
        "source_y": beta * np.sin(angle),
    }


def injected(host, psf, mag, sources, rng, seed):
    """The host with one lensed galaxy of Hubble, magnified enough."""
    near = sorted(sources, key=lambda one: abs(one.magnitudes["r"] - mag))[:NEAREST_SOURCES]
    theta = float(np.clip(rng.lognormal(np.log(1.35), 0.26), 0.7, 2.5))
    config, recipe = InjectionConfig(), SETS["calibrated"].sources
    for _ in range(60):
        source = near[rng.integers(len(near))]
        row = lens_row(theta, mag, source, rng)
        picture = lensable(source, phi=2 * np.pi * rng.random(), x=row["source_x"], y=row["source_y"])
        made = inject_row(
            host, row, psf, sources=recipe, config=config, ebv=0.0, seed=seed, source=picture, check=False
        )
        if made.magnification > MAGNIFICATION:
            return made
    raise RuntimeError(f"no source behind {host.source_id} is magnified more than {MAGNIFICATION} times")


def measured(cutouts, fwhm, images=None, invvars=None):
    return measure_stamps(
        Stamps(
            names=[one.source_id for one in cutouts],
            images=np.stack([one.image for one in cutouts]) if images is None else np.stack(images),
            invvars=np.stack([one.invvar for one in cutouts]) if invvars is None else np.stack(invvars),
            fwhm=np.broadcast_to(fwhm, (len(cutouts), 3)),
            pixscale=cutouts[0].pixscale,
        )
    )


def areas(arcs, plain, names, rng):
    """Area under the ROC curve of each statistic, with the spread that other hosts would give."""
    result = {}
    for name in STATISTICS:
        values = {host: column(arcs[arcs["source_id"] == host], name) for host in names}
        alone = {host: column(plain[plain["source_id"] == host], name) for host in names}

        def value(hosts, values=values, alone=alone):
            return area(np.concatenate([values[h] for h in hosts]), np.concatenate([alone[h] for h in hosts]))[0]

        again = [value([names[k] for k in rng.integers(len(names), size=len(names))]) for _ in range(200)]
        result[name] = {"area": round(value(names), 3), "error": round(float(np.std(again)), 3)}
    return result


def one_survey(cutouts, fwhm, sources, per_host, rng):
    plain = measured(cutouts, fwhm)
    good = plain["code"].to_numpy() == "ok"
    beside = np.array([has_companion(one, fwhm) for one in cutouts])
    names = np.array([one.source_id for one in cutouts])
    result = {
        "galaxies": len(cutouts),
        "not_measured": plain["code"][~good].value_counts().to_dict(),
        "isolated": int((good & ~beside).sum()),
        "with_companions": int((good & beside).sum()),
        "seeing_arcsec": [round(float(value), 2) for value in fwhm],
        "score_without_arcs": [round(float(v), 2) for v in np.percentile(plain["arc_score"][good], [16, 50, 84])],
    }
    psf = host_psf(InjectionConfig(), fwhm, pixscale=cutouts[0].pixscale)
    hosts = [one for one, ok in zip(cutouts, good, strict=True) if ok]
    for mag in MAGNITUDES:
        repeated = [host for host in hosts for _ in range(per_host)]
        made = [injected(host, psf, mag, sources, rng, k) for k, host in enumerate(repeated)]
        arcs = measured(repeated, fwhm, [one.image for one in made], [one.invvar for one in made])
        arcs = arcs[arcs["code"] == "ok"]
        kinds = {"isolated": names[good & ~beside], "with_companions": names[good & beside], "all": names[good]}
        result[f"r={mag:.0f}"] = {
            kind: areas(arcs, plain[good], list(chosen), rng) for kind, chosen in kinds.items() if len(chosen) >= 5
        }
        print(mag, {kind: value["arc_score"] for kind, value in result[f"r={mag:.0f}"].items()}, flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--per-host", type=int, default=2)
    parser.add_argument("--seed", type=int, default=41)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    sources = [
        one
        for one in read_hst_sources(options.shared / "hst-cosmos")
        if set(BANDS) <= set(one.magnitudes) and one.redshift > 0.6 and one.magnitudes["r"] < 26.0
    ]
    result = {"per_host": options.per_host, "sources": len(sources), "magnification_above": MAGNIFICATION}
    for name, (cutouts, fwhm) in {
        "des-lrg": des_galaxies(options.shared),
        "kids-viking-field": kids_galaxies(options.shared),
    }.items():
        result[name] = one_survey(cutouts, fwhm, sources, options.per_host, np.random.default_rng(options.seed))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "realism_real_hosts.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
