"""Hosts: redshifts from colors, who may be one, weights that reach the reference, pixels that may not be touched."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from legacylens.cutouts.cutout import Cutout
from legacylens.errors import InputError, PhysicalRangeError
from legacylens.lensing.sersic import Sersic
from legacylens.mocks.host_locus import REDSHIFT, host_colors, host_mag_r
from legacylens.mocks.host_matching import HostDealer, lens_hosts, match_hosts, quantities, reference_of
from legacylens.mocks.hosts import HOST_UNITS, choose_candidates, estimate_redshift, host_table, sky_noise, why_unusable
from legacylens.mocks.measured_hosts import ADDED_NOTE, measured_host, with_measured_invvar
from legacylens.mocks.noise import PIXEL_SIGMA, correlate
from legacylens.mocks.population_sets import SETS, DeflectorConfig, HostConfig
from legacylens.mocks.population_summary import mock_hosts
from legacylens.mocks.psf import Psf, moffat_psfs
from legacylens.mocks.render import render_profile
from legacylens.photometry import flux_of_magnitude
from legacylens.survey.maskbits import mask_value


def a_parent(n=6, **columns):
    frame = pd.DataFrame({"source_id": [f"10000_{k}_1" for k in range(n)], "ra": 150.0, "dec": 2.0, "ebv": 0.03})
    for band, mag, seeing in (("g", 21.44, 1.4), ("r", 19.6, 1.3), ("z", 18.37, 1.2)):
        frame[f"mag_{band}"], frame[f"psfsize_{band}"], frame[f"psfdepth_{band}"] = mag, seeing, 2000.0
    frame["shape_r"], frame["shape_e1"], frame["shape_e2"] = 1.0, 0.2, 0.0
    return frame.assign(**columns)


def a_cutout(*, stamp=101, sigma=0.003, seed=1, **changes):
    rng = np.random.default_rng(seed)
    image = np.stack([correlate(rng.standard_normal((stamp, stamp)).astype("f4")) * sigma for _ in range(3)])
    values = {
        "source_id": "10000_1_1",
        "ra": 150.0,
        "dec": 2.0,
        "bands": ("g", "r", "z"),
        "image": image.astype("f4"),
        "invvar": np.full((3, stamp, stamp), (PIXEL_SIGMA / sigma) ** 2, "f4"),
        "maskbits": np.zeros((stamp, stamp), "i4"),
    }
    return Cutout(**{**values, **changes})


def test_redshifts_of_the_locus_come_back():
    z = np.linspace(0.12, 0.9, 30)
    g_r, r_z = host_colors(z)
    r = host_mag_r(z)
    found, error = estimate_redshift(r + g_r, r, r - r_z)
    np.testing.assert_allclose(found, z, atol=0.035)  # the stated error is 0.05
    assert np.all((error > 0.02) & (error < 0.12))
    assert np.isnan(estimate_redshift([np.nan], [19.0], [18.0])[0][0])


def test_the_locus_has_one_value_for_each_redshift():
    assert np.all(np.diff(REDSHIFT) > 0)
    assert np.all(np.diff(host_mag_r(REDSHIFT)) > 0)


@pytest.mark.real
def test_redshifts_of_known_lenses(real_data):
    """Colors of known lenses contain arcs; still two of three lie within 0.06 (1 + z) of the survey's photo-z."""
    table = pd.read_csv(real_data / "catalogs" / "stein2022_training_lenses.tsv", sep="\t")
    table = table[(table["z_phot_mean"] > 0.1) & (table["z_phot_mean"] < 0.95)]
    z, _ = estimate_redshift(table["mag_g"], table["mag_r"], table["mag_z"])
    away = (z - table["z_phot_mean"]) / (1 + table["z_phot_mean"])
    assert len(away) > 1500
    assert abs(np.median(away)) < 0.01
    assert np.quantile(np.abs(away), 0.68) < 0.06


@pytest.mark.real
def test_dispersions_of_real_red_galaxies(real_data):
    """The table of des-lrg gives sigma_v; magnitude and color on the stamp predict it with 0.07 dex of scatter."""
    from astropy.io import fits

    from legacylens.cutouts.decode import read_cutouts
    from legacylens.mocks.deflectors import median_log_sigma

    path = real_data / "des-lrg" / "des_lrg_grizY.fits"
    true = np.asarray(fits.getdata(path, "HOSTS")["sigma_v"], dtype=float)
    rows = pd.concat(
        [measured_host(with_measured_invvar(one), (1.25, 1.1, 1.0)) for one in read_cutouts(path)], ignore_index=True
    )
    away = np.log10(true) - median_log_sigma(DeflectorConfig(), rows["mag_r"].to_numpy(), rows["z"].to_numpy())
    assert len(away) == 30
    assert abs(np.median(away)) < 0.05
    assert away.std() < 0.09


def test_a_host_table_takes_the_best_redshift():
    parent = a_parent(
        4,
        z_phot_median=[0.5, -99.0, np.nan, 0.6],
        z_phot_std=[0.02, 0.02, 0.02, -1.0],
        z_spec=[np.nan, np.nan, 0.44, -99],
    )
    hosts = host_table(parent)
    assert list(hosts) == list(HOST_UNITS)
    assert hosts["z_kind"].tolist() == ["z_phot_median", "colors", "z_spec", "z_phot_median"]
    np.testing.assert_allclose(hosts["z"], [0.5, 0.55, 0.44, 0.6], atol=0.02)
    assert hosts["z_error"][2] < 0.001 < hosts["z_error"][0] < hosts["z_error"][3]


def test_shapes_are_turned_into_the_image_plane():
    """Tractor's e1 > 0 is a major axis to the north: along +y, phi = 90 degrees. East (e1 < 0) is -x: phi = 0."""
    hosts = host_table(a_parent(3, shape_e1=[0.2, -0.2, 0.0], shape_e2=[0.0, 0.0, 0.2]))
    np.testing.assert_allclose(hosts["q"], 0.8 / 1.2)
    # PA = 45 degrees points to north-east, which is up and left: 135 degrees from +x.
    np.testing.assert_allclose(np.degrees(hosts["phi"]), [90.0, 0.0, 135.0], atol=1e-9)
    np.testing.assert_allclose(hosts["radius"], np.sqrt(0.8 / 1.2))


def test_missing_columns_are_all_named():
    with pytest.raises(InputError, match=r"lacks shape_r, psfsize_z"):
        host_table(a_parent().drop(columns=["shape_r", "psfsize_z"]))


def test_candidates_are_red_and_measured():
    parent = a_parent(7)
    parent.loc[1, "mag_g"] = np.nan
    parent.loc[2, "psfsize_r"] = 0.0
    parent.loc[3, "mag_g"] = 20.2  # a blue galaxy
    parent.loc[4, ["mag_g", "mag_r", "mag_z"]] += 3.0  # a faint one
    parent.loc[5, "psfdepth_z"] = 0.0
    left, counts = choose_candidates(host_table(parent), HostConfig())
    assert left["source_id"].tolist() == ["10000_0_1", "10000_6_1"]
    assert counts.given == 7
    assert sum(counts.removed.values()) + counts.left == 7
    assert counts.removed["no-measurement"] == 2
    assert counts.removed["seeing"] == 1
    anything, _ = choose_candidates(host_table(parent), HostConfig(matching="none"))
    assert len(anything) == 4


def test_weights_bring_hosts_to_the_reference():
    """A parent sample that is too faint and too distant ends with the shares of the reference in every bin."""
    hosts = mock_hosts(3000, np.random.default_rng(2))
    hosts = hosts[(hosts["z"] > 0.4) | (np.arange(3000) % 3 == 0)].reset_index(drop=True)
    # Without prescribed radii, which would be one more margin.
    config = SETS["calibrated"].model_copy(update={"deflectors": DeflectorConfig(theta_E="natural")})
    weights = match_hosts(hosts, config)
    assert weights.share.sum() == pytest.approx(1.0)
    assert 200 < weights.effective < len(hosts)
    table, reference = quantities(hosts), lens_hosts()
    for name in ("mag_r", "r_z", "z", "radius"):
        share = np.bincount(np.searchsorted(reference.edges[name], table[name]), weights.share, minlength=6)
        np.testing.assert_allclose(share, reference.shares[name], atol=0.02, err_msg=name)
    uneven = np.bincount(np.searchsorted(reference.edges["z"], table["z"]), minlength=6) / len(table)
    assert np.abs(uneven - reference.shares["z"]).max() > 0.05
    for name in ("psfsize_r", "sigma_r"):  # seeing and depth stay those of the parent
        assert np.average(table[name], weights=weights.share) == pytest.approx(table[name].mean(), rel=0.02)


def test_hosts_can_be_matched_to_a_table():
    rng = np.random.default_rng(3)
    wanted = quantities(mock_hosts(400, rng))
    wanted["mag_r"] -= 0.3
    reference = reference_of(wanted, ("mag_r", "psfsize_r"), 5)
    hosts = mock_hosts(2000, rng)
    config = SETS["calibrated"].model_copy(update={"deflectors": DeflectorConfig(theta_E="natural")})
    weights = match_hosts(hosts, config, reference)
    mean = np.average(hosts["mag_r"], weights=weights.share)
    assert mean == pytest.approx(wanted["mag_r"].mean(), abs=0.1)
    assert hosts["mag_r"].mean() > mean + 0.15


def test_massive_hosts_get_large_radii():
    hosts = mock_hosts(800, np.random.default_rng(4))
    dealer = HostDealer(match_hosts(hosts, SETS["calibrated"]), SETS["calibrated"], np.random.default_rng(5))
    small = [dealer.deal(0.8) for _ in range(60)]
    large = [dealer.deal(2.2) for _ in range(60)]
    assert hosts["luminosity_offset"][large].mean() < hosts["luminosity_offset"][small].mean() - 0.4
    assert len(set(small + large)) == 120  # each host once


def test_a_dealer_runs_out():
    hosts = mock_hosts(5, np.random.default_rng(6))
    config = SETS["calibrated"].model_copy(update={"hosts": HostConfig(per_host=2)})
    dealer = HostDealer(match_hosts(hosts, config), config, np.random.default_rng(7))
    dealer.withdraw(0)
    dealt = [dealer.deal(1.3) for _ in range(9)]
    assert sorted(d for d in dealt if d is not None) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert dealt[-1] is None


def test_masked_and_edge_hosts_are_told_apart():
    assert why_unusable(a_cutout(), 8.0) == ""
    bits = np.zeros((101, 101), "i4")
    bits[50, 70] = mask_value("BRIGHT")  # 5.2 arcsec away
    assert why_unusable(a_cutout(maskbits=bits), 8.0) == "masked"
    assert why_unusable(a_cutout(maskbits=bits), 5.0) == ""
    invvar = np.full((3, 101, 101), 9e4, "f4")
    invvar[2, 60, 60] = 0.0
    assert why_unusable(a_cutout(invvar=invvar), 8.0) == "masked"
    cut = a_cutout()
    image, invvar = cut.image.copy(), np.array(cut.invvar)
    image[:, :, 75:] = 0.0
    invvar[:, :, 75:] = 0.0
    assert why_unusable(a_cutout(image=image, invvar=invvar), 8.0) == "edge"
    assert why_unusable(a_cutout(stamp=51), 8.0) == "edge"
    with pytest.raises(PhysicalRangeError, match="Cut the store with invvar"):
        why_unusable(a_cutout(invvar=None), 8.0)


def test_sky_noise_is_that_of_the_invvar():
    np.testing.assert_allclose(sky_noise(a_cutout(sigma=0.004)), 0.004 / PIXEL_SIGMA, rtol=1e-6)


def test_an_invvar_is_measured_and_said():
    """The sky of a stamp with a galaxy gives the noise within 3 %."""
    clean = a_cutout(sigma=0.003, seed=5)
    psf = Psf(moffat_psfs([1.4, 1.3, 1.2]))
    galaxy = render_profile([Sersic(r_e=0.9, n=4.0, q=0.7, phi=0.5)], [1.0, 5.0, 15.0], psf, shape=(101, 101))
    image = (clean.image + galaxy).astype("f4")
    image[:, :4] = 0.0
    measured = with_measured_invvar(a_cutout(image=image, invvar=None))
    assert ADDED_NOTE in measured.notes
    np.testing.assert_allclose(sky_noise(measured)[:2], 0.003 / PIXEL_SIGMA, rtol=0.03)
    assert not measured.invvar[:, :4].any()
    assert with_measured_invvar(clean) is clean
    flat = a_cutout(image=np.where(np.indices((3, 101, 101))[1] < 60, clean.image, 0.0).astype("f4"), invvar=None)
    assert with_measured_invvar(flat).invvar[:, 80].sum() == 0.0


def test_a_stamp_gives_a_host_row():
    """Magnitudes within 3 arcsec, colors, direction and size of a galaxy that we made."""
    flux = flux_of_magnitude([21.44, 19.6, 18.37])
    psf = Psf(moffat_psfs([1.3, 1.2, 1.1]))
    galaxy = render_profile([Sersic(r_e=0.9, n=4.0, q=0.6, phi=0.5)], flux, psf, shape=(101, 101))
    row = measured_host(a_cutout(image=(a_cutout().image + galaxy).astype("f4")), (1.3, 1.2, 1.1)).iloc[0]
    assert row["mag_r"] == pytest.approx(19.6, abs=0.35)
    assert row["mag_g"] - row["mag_r"] == pytest.approx(1.84, abs=0.06)
    assert row["z"] == pytest.approx(0.55, abs=0.06)
    assert row["phi"] == pytest.approx(0.5, abs=0.1)
    assert row["q"] == pytest.approx(0.6, abs=0.06)
    assert 0.4 < row["radius"] < 1.2
    two = a_cutout()
    short = Cutout(source_id="x", ra=1.0, dec=1.0, bands=("g", "r"), image=two.image[:2], invvar=two.invvar[:2])
    with pytest.raises(PhysicalRangeError, match="Give g, r and z"):
        measured_host(short, (1.3, 1.2))
