import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacylens.survey.cells import cell_center, cell_fraction, cell_of, cells_within
from legacylens.survey.sphere import separation_arcsec


def test_published_cells():
    # HEALPix primer: at nside 1 nested, the twelve base pixels; the equator's first is number 4 at RA 0.
    assert cell_of([0.0, 90.0, 45.0, 45.0], [0.0, 0.0, 41.8, -41.8], nside=1).tolist() == [4, 5, 0, 8]


@given(cell=st.integers(0, 12 * 128**2 - 1))
def test_a_cell_holds_its_center(cell):
    ra, dec = cell_center([cell])
    assert cell_of(ra, dec).tolist() == [cell]


def test_nested_cells_halve_like_a_tree():
    rng = np.random.default_rng(5)
    ra, dec = rng.uniform(0, 360, 1000), np.degrees(np.arcsin(rng.uniform(-1, 1, 1000)))
    assert (cell_of(ra, dec, 128) // 4 == cell_of(ra, dec, 64)).all()


def test_fractions_are_uniform_and_depend_on_the_seed():
    cells = np.arange(20_000)
    fractions = cell_fraction(cells, seed=42)
    assert ((fractions >= 0) & (fractions < 1)).all()
    counts, _ = np.histogram(fractions, bins=20, range=(0, 1))
    chi2 = ((counts - 1000.0) ** 2 / 1000.0).sum()
    assert chi2 < 43.8  # 19 degrees of freedom, one in a thousand
    assert abs(np.corrcoef(fractions, cell_fraction(cells, seed=43))[0, 1]) < 0.03


def test_fraction_is_the_documented_hash_in_another_process_too():
    # sha256("12345_42") begins with 0x..., computed here independently of the implementation.
    import hashlib

    expected = int(hashlib.sha256(b"12345_42").hexdigest()[:16], 16) / 2**64
    assert cell_fraction([12345], seed=42)[0] == pytest.approx(expected, abs=1e-15)
    code = "from legacylens.survey.cells import cell_fraction; print(repr(float(cell_fraction([12345], 42)[0])))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(out) == pytest.approx(expected, abs=1e-15)


def test_a_circle_touches_the_neighbor_only_near_the_border():
    ra, dec = cell_center([70_000])
    assert set(cells_within(ra, dec, 60.0).ravel().tolist()) == {70_000}
    # Walk north until the cell changes; just before that, a circle of 60 arcsec must see the neighbor.
    step = np.arange(0, 3600.0, 10.0)
    own = cell_of(np.full(len(step), ra[0]), dec[0] + step / 3600.0)
    last = int(np.argmax(own != 70_000)) - 1
    assert len(set(cells_within(ra, [dec[0] + step[last] / 3600.0], 60.0).ravel().tolist())) > 1
    assert separation_arcsec(ra[0], dec[0], ra[0], dec[0] + step[last] / 3600.0)[0] == pytest.approx(
        step[last], rel=1e-6
    )
