"""Every request says everything, and nothing impossible is asked for."""

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from legacylens.cutouts.service_request import (
    SUBIMAGE_MARGIN,
    ServiceConfig,
    cutout_request,
    jpeg_request,
    maskbits_request,
    psf_request,
)
from legacylens.errors import InputError

BASE = "https://viewer.example/viewer/"
MAKERS = [cutout_request, maskbits_request, psf_request, jpeg_request]


def query(url):
    return parse_qs(urlsplit(url).query, keep_blank_values=True)


@pytest.mark.parametrize("make", MAKERS)
@given(
    ra=st.floats(0, 360, exclude_max=True), dec=st.floats(-90, 90), layout=st.sampled_from(["subimage", "resampled"])
)
def test_layer_bands_size_and_scale_are_in_every_url(make, ra, dec, layout):
    # The service has a default for each of them, and none of the defaults is ours.
    fields = query(make(ServiceConfig(layout=layout, layer="ls-dr10-south"), ra, dec).url(BASE))
    assert fields["layer"] == ["ls-dr10-south"]
    assert set(fields["bands"][0]) <= set("grz")
    assert int(fields["size"][0]) > 0
    assert float(fields["pixscale"][0]) == 0.262
    assert abs(float(fields["ra"][0]) - ra) < 1e-8
    assert abs(float(fields["dec"][0]) - dec) < 1e-8


def test_flags_have_no_values_and_endpoints_are_the_viewers():
    config = ServiceConfig()
    url = cutout_request(config, 1.0, 2.0).url(BASE)
    assert url == (
        f"{BASE}fits-cutout?ra=1.000000000&dec=2.000000000&layer=ls-dr10&bands=grz&size=105&pixscale=0.262"
        "&invvar&subimage"
    )
    assert query(url)["size"] == [str(config.stamp + 2 * SUBIMAGE_MARGIN)]
    resampled = cutout_request(ServiceConfig(layout="resampled"), 1.0, 2.0)
    assert resampled.flags == ("invvar", "maskbits")
    assert resampled.size == 101
    assert maskbits_request(config, 1.0, 2.0).bands == ("g",)
    assert "/coadd-psf/?" in psf_request(config, 1.0, 2.0).url(BASE)
    assert "/jpeg-cutout?" in jpeg_request(config, 1.0, 2.0).url(BASE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bands": ("z", "g")}, "in this order"),
        ({"bands": ("g", "r", "y")}, "must be some of"),
        ({"bands": ()}, "must be some of"),
        ({"layer": "ls-dr9", "bands": ("g", "r", "i", "z")}, "has the bands grz, not i"),
        ({"layer": "ls dr10"}, "is not the name of a layer"),
        ({"layer": ""}, "is not the name of a layer"),
        ({"stamp": 100}, "must be odd"),
        ({"stamp": 3001}, "less than or equal to 999"),
        ({"url": "ftp://viewer/"}, "must start with http"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        ServiceConfig(**changes)


def test_unknown_layers_are_left_to_the_service():
    assert ServiceConfig(layer="ls-dr11-early", bands=("g", "r", "i", "z")).requests_per_position == 2
    assert ServiceConfig(layout="resampled").requests_per_position == 1
    assert ServiceConfig(psf=True, jpeg=True).requests_per_position == 4


@pytest.mark.parametrize(("ra", "dec"), [(360.0, 0.0), (-1.0, 0.0), (0.0, 90.1), (float("nan"), 0.0)])
def test_no_request_without_a_position(ra, dec):
    with pytest.raises(InputError, match="is no position"):
        cutout_request(ServiceConfig(), ra, dec)
