"""Users' files become cutouts in survey units, or a message that names file, fault and remedy."""

import gzip
import math

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from legacylens.cutouts.decode import decode_file, decode_files, read_cutouts
from legacylens.cutouts.planes import NO_DATA_BITS, overlap_matrix
from legacylens.errors import FileProblem
from legacylens.survey.grid import grid_header

SIGMA = 0.005


def stamp(side=101, n_bands=3, seed=1, scale=0.262):
    """Noise and a Gaussian galaxy of 2 arcsec; each band brighter than the one before."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) * scale
    galaxy = np.exp(-(x**2 + y**2) / 8.0)
    planes = [0.1 * (band + 1) * galaxy for band in range(n_bands)]
    return (np.array(planes) + rng.normal(0, SIGMA, (n_bands, side, side))).astype(np.float32)


def weights(image):
    return np.full_like(image, SIGMA**-2)


def viewer_header(side, bands="grz", scale=0.262, kind="image"):
    header = grid_header(150.0, 2.0, side, side)
    for card in ("CD1_1", "CD2_2"):
        header[card] *= scale / 0.262
    header["SURVEY"], header["VERSION"], header["IMAGETYP"] = "LegacySurvey", "DR10", kind
    if bands:
        header["BANDS"] = bands
        for number, band in enumerate(bands):
            header[f"BAND{number}"] = band
    return header


def viewer_cutout(path, side=101, scale=0.262, image=None, *, with_weights=False):
    """The resampled layout: a cube, and on request a cube of invvar and a plane of maskbits."""
    image = stamp(side, scale=scale) if image is None else image
    hdus = [fits.PrimaryHDU(image, viewer_header(image.shape[-1], scale=scale))]
    if with_weights:
        hdus.append(fits.ImageHDU(weights(image), viewer_header(side, kind="invvar", scale=scale)))
        mask = np.full(image.shape[1:], 2, np.int32)
        hdus.append(fits.ImageHDU(mask, viewer_header(side, bands="", kind="maskbits", scale=scale)))
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return image


# ---------------------------------------------------------------- layouts


def test_viewer_cube(tmp_path):
    image = viewer_cutout(tmp_path / "a.fits")
    (cutout,) = read_cutouts(tmp_path / "a.fits")
    assert np.array_equal(cutout.image, image)
    assert (cutout.source_id, cutout.ra, cutout.dec, cutout.invvar, cutout.notes) == ("a", 150.0, 2.0, None, ())
    assert cutout.origin == str(tmp_path / "a.fits")


def test_viewer_cube_with_invvar_and_maskbits(tmp_path):
    image = viewer_cutout(tmp_path / "a.fits", with_weights=True)
    (cutout,) = read_cutouts(tmp_path / "a.fits")
    assert np.array_equal(cutout.invvar, weights(image))
    assert (cutout.maskbits == 2).all()


@pytest.mark.parametrize("name", ["a.fits.gz", "a.fits.fz", "wrongly_named.npz"])
def test_the_content_decides_and_not_the_name(tmp_path, name):
    image = stamp()
    if name.endswith("fz"):
        hdu = fits.CompImageHDU(image, viewer_header(101), compression_type="GZIP_1", quantize_level=0)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / name)
    else:
        viewer_cutout(tmp_path / "plain.fits", image=image)
        content = (tmp_path / "plain.fits").read_bytes()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    (cutout,) = read_cutouts(tmp_path / name)
    assert np.array_equal(cutout.image, image)


def subimage(path, bricks):
    """The subimage layout: for each brick and band an image HDU and an invvar HDU."""
    hdus = [fits.PrimaryHDU()]
    for brick, image in bricks.items():
        for band, plane in zip("grz", image, strict=True):
            for kind, pixels in (("image", plane), ("invvar", np.full_like(plane, SIGMA**-2))):
                header = viewer_header(plane.shape[1], bands="", kind=kind)
                header["CRPIX1"] += 300
                header["BRICK"], header["BAND"] = brick, band
                hdus.append(fits.ImageHDU(pixels, header))
    fits.HDUList(hdus).writeto(path)


def test_subimage_planes(tmp_path):
    image = stamp(104)
    subimage(tmp_path / "a.fits", {"1500p020": image})
    (cutout,) = read_cutouts(tmp_path / "a.fits")
    # Pixel 52 of 104 is central.
    assert np.array_equal(cutout.image, image[:, 2:103, 2:103])
    assert cutout.invvar is not None
    assert cutout.notes == ("cropped from 104 x 104 to 101 x 101 pixels",)
    assert cutout.dec == pytest.approx(2.0, abs=1e-3)


def test_subimage_of_two_bricks_takes_the_larger_piece(tmp_path):
    small, large = stamp(101)[:, :40], stamp(101, seed=2)
    subimage(tmp_path / "a.fits", {"1500p020": small, "1501p020": large})
    (cutout,) = read_cutouts(tmp_path / "a.fits")
    assert np.array_equal(cutout.image, large)
    assert cutout.notes[0] == "of the bricks 1500p020, 1501p020 only 1501p020 is used"


def test_one_cube_of_objects_for_each_band(tmp_path):
    objects = np.stack([stamp(91, 5, seed=k) for k in range(4)])
    hdus = [fits.PrimaryHDU()]
    for plane, band in enumerate("grizY"):
        hdu = fits.ImageHDU(objects[:, plane], name=band)
        hdu.header["BUNIT"], hdu.header["PIXSCALE"] = "nanomaggy", 0.263
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(tmp_path / "lrg.fits")
    cutouts = read_cutouts(tmp_path / "lrg.fits")
    assert [cutout.source_id for cutout in cutouts] == ["lrg_000", "lrg_001", "lrg_002", "lrg_003"]
    for number, cutout in enumerate(cutouts):
        assert np.array_equal(cutout.image[:, 5:96, 5:96], objects[number][[0, 1, 3]])
        assert (cutout.image[:, :5] == 0).all()
        assert "bands i, Y are not used" in cutout.notes
        assert math.isnan(cutout.ra)


def test_bare_cubes_are_taken_as_grz_and_say_so(tmp_path):
    image = stamp()
    fits.PrimaryHDU(image).writeto(tmp_path / "first.fits")
    fits.PrimaryHDU(np.moveaxis(image, 0, -1)).writeto(tmp_path / "last.fits")
    for name in ("first.fits", "last.fits"):
        (cutout,) = read_cutouts(tmp_path / name)
        assert np.array_equal(cutout.image, image)
        assert cutout.notes == (
            "no BANDS in its header: the planes were taken as g, r, z",
            "no pixel scale in the file: 0.262 arcsec assumed",
        )


def test_ra_and_dec_cards_are_the_position_where_there_is_no_wcs(tmp_path):
    hdu = fits.PrimaryHDU(stamp())
    hdu.header["RA"], hdu.header["DEC"], hdu.header["BANDS"], hdu.header["PIXSCALE"] = 10.5, -3.0, "g r z", 0.262
    hdu.writeto(tmp_path / "a.fits")
    (cutout,) = read_cutouts(tmp_path / "a.fits")
    assert (cutout.ra, cutout.dec, cutout.notes) == (10.5, -3.0, ())


@pytest.mark.parametrize("key", ["cutout", "image"])
@pytest.mark.parametrize("last", [True, False])
def test_npz_of_one_object(tmp_path, key, last):
    image = stamp()
    values = {
        key: np.moveaxis(image, 0, -1) if last else image,
        "meta_galaxy_id": "0001m040_4091",
        "meta_ra": 0.25,
        "meta_dec": -3.5,
        "meta_bands_requested": "grz",
        "meta_pixel_scale": 0.262,
    }
    np.savez(tmp_path / "x.npz", **values)
    (cutout,) = read_cutouts(tmp_path / "x.npz")
    assert np.array_equal(cutout.image, image)
    assert (cutout.source_id, cutout.ra, cutout.dec, cutout.notes) == ("0001m040_4091", 0.25, -3.5, ())


def test_npz_of_many_objects_with_everything(tmp_path):
    images = np.stack([stamp(n_bands=4, seed=k) for k in range(3)])
    np.savez(
        tmp_path / "x.npz",
        images=images,
        invvar=weights(images),
        maskbits=np.ones((3, 101, 101), np.int16),
        bands=np.array(["g", "r", "i", "z"]),
        source_id=np.array(["a", "b", "c"]),
        ra=np.arange(3) - 1.0,
        dec=np.zeros(3),
        history=np.array([{"not": "loaded"}], dtype=object),
    )
    cutouts = read_cutouts(tmp_path / "x.npz")
    assert [cutout.source_id for cutout in cutouts] == ["a", "b", "c"]
    assert [cutout.ra for cutout in cutouts] == [359.0, 0.0, 1.0]
    assert np.array_equal(cutouts[2].image, images[2][[0, 1, 3]])
    assert cutouts[0].invvar is not None
    assert (cutouts[0].maskbits == 1).all()


def test_plain_npy(tmp_path):
    images = np.stack([stamp(seed=k) for k in range(2)])
    np.save(tmp_path / "x.npy", images)
    assert [cutout.source_id for cutout in read_cutouts(tmp_path / "x.npy")] == ["x_000", "x_001"]


# ---------------------------------------------------------------- size and scale


def test_padding_has_no_weight_and_is_marked(tmp_path):
    viewer_cutout(tmp_path / "a.fits", side=91, with_weights=True)
    (cutout,) = read_cutouts(tmp_path / "a.fits")
    assert (cutout.invvar[:, :5] == 0).all()
    assert (cutout.maskbits[:5] == NO_DATA_BITS).all()
    assert (cutout.maskbits[5:96, 5:96] == 2).all()
    assert "invvar is 0 in the padding" in cutout.notes


@settings(deadline=None, max_examples=30)
@given(n_in=st.integers(1, 40), n_out=st.integers(1, 40), scale_in=st.floats(0.05, 0.3), scale_out=st.floats(0.05, 0.3))
def test_overlaps_against_counting_fine_slices(n_in, n_out, scale_in, scale_out):
    overlap = overlap_matrix(n_in, scale_in, n_out, scale_out)
    # Each input pixel in 200 slices: the share of slices in an output pixel is right to two slices.
    position = ((np.arange(n_in * 200) + 0.5) / 200 - n_in / 2) * scale_in
    place = np.floor(position / scale_out + n_out / 2).astype(int)
    counted = np.zeros((n_out, n_in))
    inside = (place >= 0) & (place < n_out)
    np.add.at(counted, (place[inside], (np.arange(n_in * 200) // 200)[inside]), 1 / 200)
    np.testing.assert_allclose(overlap, counted, atol=0.011)


@pytest.mark.parametrize("scale", [0.1, 0.131, 0.1432296, 0.27])
@pytest.mark.parametrize("is_viewer", [True, False])
def test_rebinning_conserves_the_light_of_a_source(tmp_path, scale, is_viewer):
    side = 2 * int(0.262 * 130 / scale / 2) + 1
    y, x = (np.mgrid[:side, :side] - side // 2) * scale
    # 5 nanomaggies in all, given per coadd pixel or per pixel of its own; noise only where the test sums nothing.
    profile = np.exp(-(x**2 + y**2) / 8.0) / (8.0 * np.pi)
    per_pixel = 5.0 * profile * (0.262**2 if is_viewer else scale**2)
    noise = np.random.default_rng(0).normal(0, 1e-3, (3, side, side))
    image = (per_pixel + noise - noise.mean(axis=(1, 2), keepdims=True)).astype(np.float32)
    header = viewer_header(side, scale=scale)
    if not is_viewer:
        del header["SURVEY"]
    fits.PrimaryHDU(image, header).writeto(tmp_path / "a.fits")
    (cutout,) = read_cutouts(tmp_path / "a.fits")
    y, x = np.mgrid[-50:51, -50:51] * 0.262
    aperture = np.hypot(x, y) < 8.0
    # 2930 pixels of at most 1e-3 x (0.27/0.1) x 1: +-0.06 at 1 sigma, summed over three bands 0.035; 4 sigma.
    assert cutout.image[:, aperture].sum(axis=1).mean() == pytest.approx(5.0, abs=0.15)
    assert ("averaged" if is_viewer else "summed") in cutout.notes[0]


def test_rebinning_leaves_out_what_cannot_be_rebinned(tmp_path):
    viewer_cutout(tmp_path / "a.fits", side=211, scale=0.131, with_weights=True)
    (cutout,) = read_cutouts(tmp_path / "a.fits")
    assert cutout.invvar is None
    assert cutout.maskbits is None
    assert sum("left out" in note for note in cutout.notes) == 2


# ---------------------------------------------------------------- faults


def write_fits(image, header=None, **cards):
    def write(path):
        hdu = fits.PrimaryHDU(image, header or viewer_header(image.shape[-1]))
        for card, value in cards.items():
            hdu.header[card] = value
        hdu.writeto(path)

    return write


def write_planes(shapes, bands="grz"):
    def write(path):
        hdus = [fits.PrimaryHDU()]
        for number, shape in enumerate(shapes):
            hdu = fits.ImageHDU(stamp(max(shape), 1)[0][: shape[0], : shape[1]])
            if bands:
                hdu.header["BAND"] = bands[number]
            hdus.append(hdu)
        fits.HDUList(hdus).writeto(path)

    return write


def write_npz(**values):
    return lambda path: np.savez(path, **values)


def write_bytes(content):
    return lambda path: path.write_bytes(content)


def with_value(value, where):
    image = stamp()
    image[where] = value
    return image


def psf():
    y, x = np.mgrid[-31:32, -31:32]
    plane = np.exp(-(x**2 + y**2) / 10.0)
    return np.stack([plane / plane.sum()] * 3).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "write", "reason", "message"),
    [
        ("a.fits", write_bytes(b"<html>404</html>"), "not-fits", "neither FITS nor npz, but a web page.*cutout.fits"),
        ("a.fits", write_bytes(b"\xff\xd8\xff\xe0 JFIF"), "not-fits", "a JPEG picture"),
        ("a.fits", write_bytes(b"no such layer"), "not-fits", "starts with b'no such '"),
        ("a.fits", write_bytes(b""), "truncated", "an empty file"),
        ("a.fits", write_bytes(b"\x1f\x8b\x08 broken"), "truncated", "cannot be read"),
        ("a.fits", lambda path: None, "missing", "no such file"),
        ("a.fits", write_bytes(b"SIMPLE  =                    T"), "truncated", "truncated or damaged FITS"),
        ("a.npz", write_bytes(b"PK\x03\x04 broken"), "truncated", "truncated or damaged NumPy file"),
        ("a.fits", lambda path: fits.PrimaryHDU().writeto(path), "no-image", "no image in it"),
        ("a.fits", write_fits(stamp()[:2], viewer_header(101, "gr")), "missing-band", "no z band .it has g, r."),
        ("a.fits", write_fits(stamp()[0], viewer_header(101, "")), "missing-band", "do not say their band"),
        ("a.fits", write_planes([(101, 101)] * 4, bands=""), "bands", "do not say their band"),
        ("a.fits", write_planes([(101, 101), (101, 101), (99, 99)]), "wrong-size", "planes of different shapes"),
        ("a.fits", write_fits(stamp(n_bands=5), viewer_header(101, "")), "bands", "whose header has no BANDS"),
        ("a.fits", write_fits(stamp(n_bands=5)), "wrong-size", "for the bands grz"),
        ("a.fits", write_fits(np.ones((2, 3, 2, 9, 9), "f4")), "wrong-size", "an image with 5 axes"),
        ("a.fits", write_fits(stamp(60)), "wrong-size", "60 x 60 pixels of 0.262 arcsec are too small"),
        ("a.fits", write_fits(stamp(), viewer_header(101, scale=0.5)), "wrong-scale", "pixels of 0.5 arcsec"),
        ("a.fits", write_fits(stamp(), BUNIT="adu"), "units", "its unit is 'adu', not nanomaggies"),
        ("a.fits", write_fits(stamp() * 3000), "units", "these look like ADU or counts"),
        ("a.fits", write_fits(stamp() * 0), "off-the-sky", "off the survey's footprint"),
        ("a.fits", write_fits(with_value(np.nan, np.s_[:, 50, 50])), "nan", "3 pixels are NaN or infinite, 3 of them"),
        ("a.fits", write_fits(with_value(np.nan, np.s_[:, :20])), "nan", "0 of them at the center"),
        ("a.fits", write_fits(with_value(0.0, np.s_[0])), "missing-band", "band g is zero everywhere"),
        ("a.fits", write_fits(psf()), "psf", "this is a PSF"),
        ("a.fits", write_fits(stamp(), CRVAL2=95.0), "position", r"\[-90, 90\] deg"),
        ("a.npz", write_npz(flux=stamp()), "no-image", r"no array named .* \(it has flux\)"),
        ("a.npz", write_npz(image=stamp(n_bands=2)), "missing-band", "no axis of 3 planes"),
        ("a.npz", write_npz(image=stamp(n_bands=5)), "bands", "Name the bands in an array 'bands'"),
        ("a.npz", write_npz(image=stamp(), bands="gri"), "missing-band", r"no z band \(it has g, i, r\)"),
        ("a.npz", write_npz(image=np.array(["x"])), "wrong-size", "image is <U1 of shape"),
        ("a.npz", write_npz(image=stamp(), invvar=np.ones((2, 3, 101, 101))), "wrong-size", "2 invvar for 1 images"),
        ("a.npz", write_npz(image=stamp(), invvar=np.ones((3, 99, 99))), "wrong-size", "invvar of .99, 99. pixels"),
        ("a.npz", write_npz(image=stamp(), maskbits=np.ones((9, 9), int)), "wrong-size", "maskbits of .9, 9. pixels"),
        ("a.npz", write_npz(image=stamp(), pixscale=0.03), "wrong-scale", "pixels of 0.03 arcsec"),
    ],
)
def test_faults_are_named(tmp_path, name, write, reason, message):
    write(tmp_path / name)
    with pytest.raises(FileProblem, match=message) as caught:
        read_cutouts(tmp_path / name)
    assert caught.value.reason == reason
    assert caught.value.path == str(tmp_path / name)
    assert len(caught.value.remedy) > 10


def test_a_few_nan_pixels_away_from_the_center_are_mended(tmp_path):
    image = with_value(np.nan, np.s_[1, :3, :3])
    viewer_cutout(tmp_path / "a.fits", image=image, with_weights=True)
    (cutout,) = read_cutouts(tmp_path / "a.fits")
    assert (cutout.image[1, :3, :3] == 0).all()
    assert (cutout.invvar[1, :3, :3] == 0).all()
    assert cutout.notes == ("9 NaN pixels were set to zero",)


def test_one_bad_object_does_not_spoil_the_others(tmp_path):
    images = np.stack([stamp(seed=k) for k in range(4)])
    images[2] = 0.0
    np.savez(tmp_path / "x.npz", images=images)
    decoded = decode_file(tmp_path / "x.npz")
    assert [cutout.source_id for cutout in decoded.cutouts] == ["x_000", "x_001", "x_003"]
    assert "x_002: image is zero everywhere" in str(decoded.problems[0])


def test_folders_and_repeated_names(tmp_path):
    for folder in ("one", "two", "empty"):
        (tmp_path / folder).mkdir()
    for folder in ("one", "two"):
        viewer_cutout(tmp_path / folder / "a.fits")
    (tmp_path / "one/LICENSE").write_text("not looked at")
    (tmp_path / "two/b.fits").write_text("looked at")
    decoded = decode_files([tmp_path / "one", tmp_path / "two", tmp_path / "one/a.fits", tmp_path / "empty"])
    assert [cutout.source_id for cutout in decoded.cutouts] == ["a", "a_2", "a_3"]
    assert [problem.reason for problem in decoded.problems] == ["not-fits", "missing"]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_damage_is_a_problem_and_never_a_crash(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damage")
    kind = data.draw(st.sampled_from(["fits", "npz"]))
    path = folder / f"a.{kind}"
    if kind == "fits":
        viewer_cutout(path, with_weights=True)
    else:
        np.savez_compressed(path, cutout=stamp(), ra=1.0, dec=2.0)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        # Damage the first header or directory, where it hurts most, or anywhere.
        top = data.draw(st.sampled_from([400, 2880, len(content)]))
        for place in data.draw(st.lists(st.integers(0, top - 1), min_size=1, max_size=5)):
            content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    decoded = decode_file(path)
    assert len(decoded.cutouts) + len(decoded.problems) == 1


# ---------------------------------------------------------------- real files


@pytest.mark.real
def test_the_real_folders(real_data):
    folders = ["ls-dr10-candidates", "ls-dr9-cutout", "des-lrg", "decals-galaxies"]
    decoded = decode_files([real_data / name for name in folders])
    assert len(decoded.cutouts) == 4 + 1 + 30 + 3
    problems = {problem.path.rsplit("/", 1)[-1]: problem.reason for problem in decoded.problems}
    assert problems == {
        "copsf_59.1067_-30.4848.fits": "psf",
        "example_bad_pix.fits": "bad-center",
        "example_incomplete.fits": "truncated",
        "example_incomplete_backup.fits": "truncated",
    }
    (viewer,) = (cutout for cutout in decoded.cutouts if cutout.source_id.startswith("cutout_59"))
    assert (viewer.ra, viewer.dec) == pytest.approx((59.1067, -30.4848), abs=0.262 / 3600)
    assert viewer.invvar is not None


@pytest.mark.real
def test_the_noise_of_a_real_cutout_is_what_its_invvar_says(real_data):
    from legacylens.cutouts.cutout import pixel_noise

    (cutout,) = read_cutouts(real_data / "ls-dr9-cutout" / "cutout_59.1067_-30.4848.fits")
    ratio = pixel_noise(cutout.image) * np.sqrt(np.median(cutout.invvar, axis=(1, 2)))
    # Lanczos coadds correlate neighbors: a little below one.
    assert ((ratio > 0.85) & (ratio < 1.1)).all()


@pytest.mark.real
def test_viewer_values_are_per_coadd_pixel_at_any_scale(real_data):
    """The noise of cutouts at 0.10-0.14 arcsec/pixel, at the lag of a coadd pixel, is that of a coadd."""
    for name in ("example_a", "example_c", "example_d"):
        with fits.open(real_data / "decals-galaxies" / f"{name}.fits") as hdus:
            image, scale = hdus[0].data, hdus[0].header["CD2_2"] * 3600
        lag = 2 * round(0.262 / scale)
        rows = np.concatenate([image[0, :60], image[0, -60:]])
        noise = 1.4826 * np.median(np.abs(rows[:, lag:] - rows[:, :-lag])) / np.sqrt(2)
        # DECaLS' depth: 5 sigma 23.3 to 25.0 mag for a point source with 1.3-1.5 arcsec seeing.
        assert 0.0020 < noise < 0.0050
