"""The client against every fault of the service, over real sockets."""

import threading

import numpy as np
import pytest

from legacylens.cutouts.service_ask import Asker, Position, fetch_position
from legacylens.cutouts.service_http import HttpTransport
from legacylens.cutouts.service_pace import Pace, PaceConfig, StoppedError
from legacylens.cutouts.service_products import read_psf
from legacylens.cutouts.service_request import ServiceConfig
from legacylens.errors import FileProblem, ProcessError
from legacylens.testing.viewer import viewer_server
from legacylens.testing.viewer_faults import FAULTS, LASTING, REASON_OF_FAULT
from legacylens.testing.viewer_sky import Sky

SCALE = 0.01
"""A hundred times faster than life: a time limit of 100 s takes 1 s here."""

SKY = Sky(off=0.0, without_z=0.0)
RA, DEC = 150.1, 2.2


PATIENT, IMPATIENT = 2000.0, 100.0
"""Time limits [s]. Where nothing stalls, a busy machine must not look like a stall."""


def pace(limit=PATIENT, **changes):
    return PaceConfig(
        **{
            "rate_per_minute": 6000,
            "burst": 1000,
            "read_timeout_s": limit,
            "deadline_s": 1.25 * limit,
            "time_scale": SCALE,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def server():
    with viewer_server(SKY, time_scale=SCALE) as viewer:
        yield viewer


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def asker(server, request):
    """A client of the server, which has nothing left to play from earlier tests."""
    server.faults.script.clear()
    fault = request.node.callspec.params.get("fault") if hasattr(request.node, "callspec") else None
    transport = HttpTransport(pace(IMPATIENT if REASON_OF_FAULT.get(fault) == "timeout" else PATIENT))
    yield Asker(transport, Pace(pace(max_attempts=3), np.random.default_rng(1)), server.url)
    transport.close()


def fetch(asker, tmp_path, **config):
    service = ServiceConfig(url=asker.base, **{"stamp": 21, "maskbits": False, **config})
    return fetch_position(asker, service, Position(source_id="s", ra=RA, dec=DEC, products=service.products), tmp_path)


@pytest.fixture(scope="module")
def truth(server):
    transport = HttpTransport(pace())
    asker = Asker(transport, Pace(pace(), np.random.default_rng(1)), server.url)
    stamps = {layout: fetch(asker, None, layout=layout).stamp for layout in ("subimage", "resampled")}
    transport.close()
    return stamps


@pytest.mark.parametrize("layout", ["subimage", "resampled"])
@pytest.mark.parametrize("fault", FAULTS)
def test_after_one_fault_the_right_pixels_come(server, asker, truth, tmp_path, fault, layout):
    if fault == "truncated-seam" and layout == "resampled":
        layout = "subimage"  # there it hides better
    server.faults.script += [fault]
    outcome = fetch(asker, tmp_path, layout=layout)
    assert not outcome.rejections
    assert np.array_equal(outcome.stamp.image, truth[layout].image)
    assert np.array_equal(outcome.stamp.invvar, truth[layout].invvar)
    assert asker.requests == 2
    (reason,) = asker.troubles
    # An answer that ends between two images looks like one that never had the other.
    assert reason == {"truncated-seam": "missing-band"}.get(fault, REASON_OF_FAULT[fault])


@pytest.mark.parametrize("fault", LASTING)
def test_a_fault_that_lasts_sets_the_position_aside_with_the_true_reason(server, asker, tmp_path, fault):
    server.faults.script += [fault] * 3
    outcome = fetch(asker, tmp_path, psf=True)
    assert outcome.stamp is None
    assert outcome.rejections["cutout"].reason == REASON_OF_FAULT[fault]
    assert "the last of 3 attempts" in outcome.rejections["cutout"].what
    assert outcome.rejections["cutout"].file.startswith(server.url)
    assert outcome.rejections["psf"].what.startswith("no cutout:")
    assert asker.requests == 3


def test_many_faults_are_told_apart(server, asker, tmp_path):
    server.faults.script += ["html-200", "rate-limited", "reset", "truncated"]
    rejection = fetch(asker, tmp_path).rejections["cutout"]
    assert rejection.reason == "truncated"
    assert "the last of 4 attempts: not-fits 1, rate-limited 1, connection 1, truncated 1" in rejection.what


def test_being_asked_to_wait_is_no_failure(server, asker, tmp_path):
    server.faults.script += ["rate-limited", "rate-limited-date", "rate-limited-silent"] * 2
    outcome = fetch(asker, tmp_path)
    assert outcome.stamp is not None
    assert asker.troubles == {"rate-limited": 6}
    assert asker.pace.pauses == 6


def test_but_not_for_ever(server, tmp_path):
    transport = HttpTransport(pace())
    asker = Asker(transport, Pace(pace(max_rate_limited=2), np.random.default_rng(1)), server.url)
    server.faults.script += ["rate-limited", "rate-limited"]
    assert fetch(asker, tmp_path).rejections["cutout"].reason == "rate-limited"
    transport.close()


def test_a_pause_longer_than_the_run_is_willing_to_make_ends_it(server, tmp_path):
    transport = HttpTransport(pace())
    asker = Asker(transport, Pace(pace(max_pause_s=4.0), np.random.default_rng(1)), server.url)
    server.faults.script += ["rate-limited"]
    with pytest.raises(ProcessError, match="asks for a pause of 5 s, longer than the 4 s"):
        fetch(asker, tmp_path)
    transport.close()


def test_the_pause_that_is_asked_for_is_kept(server, asker, tmp_path):
    server.faults.script += ["rate-limited"]
    begun = asker.pace.now()
    fetch(asker, tmp_path)
    # 5 s as the service counts them, and up to a tenth more.
    assert asker.pace.now() - begun >= 5.0


@pytest.mark.parametrize(
    "fault", ["html-200", "truncated", "reset", "stall-body", "clipped", "empty-200", "default-layer"]
)
def test_psf_and_picture_survive_faults_too(server, asker, tmp_path, fault):
    script = ["", fault, "", fault, ""]
    if fault in ("clipped", "default-layer"):
        script = ["", "", "clipped", ""]  # a PSF says nothing of its layer and has no size that was asked for
    server.faults.script += script
    outcome = fetch(asker, tmp_path, psf=True, jpeg=True, jpeg_size=32)
    assert outcome.got == ("cutout", "psf", "jpeg")
    assert read_psf(tmp_path, "s").planes["z"].sum() == pytest.approx(1.0)
    assert (tmp_path / "jpeg" / "s.jpg").read_bytes().startswith(b"\xff\xd8")


def test_a_product_that_fails_does_not_cost_the_others(server, asker, tmp_path):
    server.faults.script += ["", "html-200", "html-200", "html-200"]
    outcome = fetch(asker, tmp_path, psf=True, jpeg=True, jpeg_size=32)
    assert outcome.got == ("cutout", "jpeg")
    assert outcome.rejections["psf"].reason == "not-fits"
    assert not (tmp_path / "psf").exists()


def test_mask_bits_that_fail_cost_the_cutout(server, asker, tmp_path):
    server.faults.script += ["", "server-error", "server-error", "server-error"]
    outcome = fetch(asker, tmp_path, maskbits=True)
    assert outcome.stamp is None
    assert outcome.rejections["cutout"].reason == "server-error"
    assert fetch(asker, tmp_path, maskbits=True).stamp.maskbits.shape == (21, 21)


@pytest.mark.parametrize(("off", "reason"), [(1.0, "off-the-sky"), (0.0, "missing-band")])
@pytest.mark.parametrize("layout", ["subimage", "resampled"])
def test_where_the_survey_has_nothing_that_is_said(tmp_path, layout, off, reason):
    sky = Sky(off=off, without_z=1.0)
    with viewer_server(sky, time_scale=SCALE) as server:
        transport = HttpTransport(pace())
        asker = Asker(transport, Pace(pace(), np.random.default_rng(1)), server.url)
        outcome = fetch(asker, tmp_path, layout=layout)
        assert outcome.rejections["cutout"].reason == reason
        # Words that do not say what position they are about are believed when they come twice.
        assert asker.requests == (2 if reason == "off-the-sky" else 1)
        transport.close()


def test_an_address_where_nobody_listens(tmp_path):
    with viewer_server(SKY) as server:
        url = server.url
    transport = HttpTransport(pace())
    asker = Asker(transport, Pace(pace(max_attempts=2), np.random.default_rng(1)), url)
    rejection = fetch(asker, tmp_path).rejections["cutout"]
    assert rejection.reason == "connection"
    assert "refused" in rejection.what
    transport.close()


def test_redirections_in_a_ring_and_endless_answers(server):
    transport = HttpTransport(pace())
    with pytest.raises(FileProblem, match="more than 100 bytes came") as caught:
        transport.get(f"{server.url}jpeg-cutout?ra={RA}&dec={DEC}&size=64", 100)
    assert caught.value.reason == "too-large"
    transport.close()


def test_a_run_that_is_ended_does_not_wait(server, asker, tmp_path):
    asker.pace.limited(600.0)
    timer = threading.Timer(0.1, asker.pace.stop)
    timer.start()
    with pytest.raises(StoppedError):
        fetch(asker, tmp_path)
    timer.join()
