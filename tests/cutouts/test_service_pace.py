"""Polite by arithmetic: rates, pauses and estimates against what they must be."""

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from legacylens.cutouts.service import advice_for
from legacylens.cutouts.service_pace import Pace, PaceConfig, StoppedError, TimeLeft, in_words, retry_after
from legacylens.cutouts.service_request import ServiceConfig


class FakePace(Pace):
    """A pace on a clock that only waiting moves."""

    def __init__(self, **changes):
        self.time = 1000.0
        self.waits = []
        super().__init__(PaceConfig(**changes), np.random.default_rng(1))

    def now(self):
        return self.time

    def wait(self, seconds):
        self.waits.append(seconds)
        self.time += seconds


def starts(pace, n):
    times = []
    for _ in range(n):
        pace.wait_turn()
        times.append(pace.time)
    return np.array(times)


@given(rate=st.floats(1, 6000), burst=st.integers(1, 20), n=st.integers(1, 60))
def test_no_window_of_time_has_more_requests_than_rate_and_burst_allow(rate, burst, n):
    times = starts(FakePace(rate_per_minute=rate, burst=burst), n)
    counts = np.arange(1, n + 1)
    for first in range(n):
        elapsed = times[first:] - times[first]
        # A bucket of `burst` tokens that refills at `rate`: never more than burst + rate * time requests.
        assert (counts[first:] - first <= burst + elapsed * rate / 60.0 + 1e-6).all()
    if n > burst:
        assert times[-1] - times[0] == pytest.approx((n - burst) * 60.0 / rate)


def test_the_default_is_twenty_a_minute_two_at_a_time():
    default = PaceConfig()
    assert (default.rate_per_minute, default.concurrency, default.time_scale) == (20.0, 2, 1.0)
    times = starts(FakePace(), 105)
    assert times[-1] - times[0] == pytest.approx(300.0)


def test_a_pause_holds_everybody_and_is_followed_by_no_burst():
    pace = FakePace(rate_per_minute=60, burst=10)
    pace.wait_turn()
    pause = pace.limited(30.0)
    assert 30.0 <= pause <= 33.0  # never shorter than was asked for, and not the same for all clients
    begun = pace.time
    times = starts(pace, 3)
    assert times[0] - begun == pytest.approx(pause)
    # The rate is halved: two seconds between requests.
    assert np.diff(times) == pytest.approx([2.0, 2.0])
    assert pace.pauses == 1


def test_several_answers_of_the_same_moment_are_one_pause():
    pace = FakePace(rate_per_minute=60)
    for _ in range(5):
        pace.limited(10.0)
    assert pace.pauses == 1
    assert pace.rate_per_minute == pytest.approx(30.0)


def test_the_rate_falls_to_a_sixteenth_and_recovers_with_good_answers():
    pace = FakePace(rate_per_minute=64)
    for _ in range(10):
        pace.limited(1.0)
        pace.time += 100.0
    assert pace.rate_per_minute == pytest.approx(4.0)
    for _ in range(100):
        pace.went_well()
    assert pace.rate_per_minute == pytest.approx(64.0)


def test_without_retry_after_pauses_double_up_to_a_limit():
    pace = FakePace(backoff_first_s=2.0, backoff_max_s=30.0)
    pauses = [pace.limited(None) for _ in range(7)]
    for pause, expected in zip(pauses, [2, 4, 8, 16, 30, 30, 30], strict=True):
        assert expected <= pause <= 1.1 * expected
    pace.went_well()
    assert pace.limited(None) <= 2.2


@given(st.integers(1, 2000))
def test_backing_off_doubles_with_jitter_up_to_a_limit(failures):
    pace = FakePace(backoff_first_s=2.0, backoff_max_s=120.0)
    pace.back_off(failures)
    expected = min(2.0 * 2.0 ** min(failures - 1, 50), 120.0)
    assert 0.5 * expected <= pace.waits[0] <= 1.5 * expected


def test_jitter_comes_from_the_generator():
    waits = []
    for _ in range(2):
        pace = FakePace()
        for failures in range(1, 5):
            pace.back_off(failures)
        waits.append(pace.waits)
    assert waits[0] == waits[1]
    assert len({round(wait / 2 ** (n + 1), 6) for n, wait in enumerate(waits[0])}) == 4


def test_stopping_wakes_who_waits():
    pace = Pace(PaceConfig(rate_per_minute=1, burst=1), np.random.default_rng(1))
    pace.wait_turn()
    seen = []

    def wait():
        try:
            pace.wait_turn()
        except StoppedError:
            seen.append("stopped")

    thread = threading.Thread(target=wait)
    thread.start()
    pace.stop()
    thread.join(timeout=5)
    assert seen == ["stopped"]
    with pytest.raises(StoppedError):
        pace.wait(100.0)


NOW = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("30", 30.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        (" 7 ", 7.0),
        ("", None),
        ("soon", None),
        ("inf", None),
        ("nan", None),
    ],
)
def test_retry_after_in_seconds(value, expected):
    assert retry_after({"retry-after": value}) == expected


def test_retry_after_as_a_date_is_measured_by_the_clock_of_the_service():
    until = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
    assert retry_after({"retry-after": until, "date": format_datetime(NOW, usegmt=True)}) == 90.0
    assert retry_after({"retry-after": until, "date": format_datetime(NOW + timedelta(days=1), usegmt=True)}) == 0.0
    assert retry_after({}) is None
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert retry_after({"retry-after": later}) == pytest.approx(3600.0, abs=5.0)


def test_times_out_of_order_are_refused():
    with pytest.raises(ValidationError, match="is less than read_timeout_s"):
        PaceConfig(read_timeout_s=60.0, deadline_s=30.0)


def run(left, durations, now=0.0):
    left.start(now)
    for duration in durations:
        now += duration
        left.finish(now)
    return now


def test_before_anything_is_known_the_allowed_rate_is_said_with_a_wide_range():
    left = TimeLeft(600, 2)
    left.start(0.0)
    central, low, high = left.estimate(1.0, 20.0)
    assert central == low == 600 * 2 / 20.0 * 60.0
    assert high == 5 * central


def test_the_estimate_is_never_shorter_than_the_rate_allows():
    left = TimeLeft(1000, 1)
    now = run(left, [0.01] * 100)
    central, low, _ = left.estimate(now, 20.0)
    assert central == low == 900 * 3.0


def test_a_silent_service_makes_the_estimate_grow():
    left = TimeLeft(200, 1)
    now = run(left, [3.0] * 100)
    first = left.estimate(now, 20.0)[0]
    assert left.estimate(now + 600.0, 20.0)[0] > 2.5 * first


def test_the_estimate_forgets_what_is_long_ago():
    left = TimeLeft(1000, 1)
    now = run(left, [100.0] * 200 + [3.0] * 101)
    assert left.estimate(now, 20.0)[0] == pytest.approx(699 * 3.0, rel=0.01)


def test_the_range_holds_the_truth_as_often_as_it_says():
    # Random services, gamma distributed times: two standard deviations should hold at least nine of ten.
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        durations = rng.gamma(1.0, 5.0, 120)
        left = TimeLeft(120, 1)
        now = run(left, durations[:40])
        _, low, high = left.estimate(now, 6000.0)
        held += low <= durations[40:].sum() <= high
    assert held >= 180


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (50, "50 s"), (89, "89 s"), (720, "12 min"), (5340, "89 min"), (12000, "3 h 20 min"),
     (8 * 3600 + 900, "8 h"), (30 * 3600, "30 h"), (52 * 3600, "2 d 4 h")],
)  # fmt: skip
def test_durations_in_words(seconds, words):
    assert in_words(seconds) == words


def test_long_lists_are_sent_to_the_bricks():
    short = advice_for(100, ServiceConfig(), PaceConfig())
    assert short == "100 positions take 2 requests each and at 20 requests a minute at least 10 min."
    assert "cutouts cut" in advice_for(134_182, ServiceConfig(), PaceConfig())
