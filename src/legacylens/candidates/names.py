"""Names made from positions, each by a stated rule.

- ``name`` follows the IAU's recommendation for source designations: ``Jhhmmss.ss+ddmmss.s``, *truncated*, so that the
  name says in which cell of 0.15" x 0.1" the object lies. (The acronym before it is for whoever publishes.)
- ``desi_name`` is the form under which the published candidates of the Legacy Surveys are known,
  ``DESI-RRR.RRRR+DD.DDDD``, *rounded* to four decimals: 93 % of the published names agree with rounding and 26 % with
  truncation, so other lists must be matched by position, never by name.

Two positions can share a name; then a, b, c... is appended in the order of the list, best first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from legacylens.errors import InputError

# A position in degrees is a binary number near the decimal one that was meant: 1.1 deg is 264 s and not 263.99999. One
# part in 10^6 of the last digit (1e-7 arcsec) is forgiven, far below any position's meaning.
_SLACK = 1e-6


def _positions(ra: ArrayLike, dec: ArrayLike) -> Iterable[tuple[float, float]]:
    ra, dec = np.atleast_1d(np.asarray(ra, np.float64)), np.atleast_1d(np.asarray(dec, np.float64))
    if not (np.isfinite(ra).all() and np.isfinite(dec).all() and (np.abs(dec) <= 90).all()):
        raise InputError("a name needs a finite position with |dec| <= 90 degrees")
    return zip((ra % 360.0).tolist(), dec.tolist(), strict=True)


def iau_names(ra: ArrayLike, dec: ArrayLike) -> list[str]:
    """Return ``Jhhmmss.ss+ddmmss.s`` of each position [deg], truncated.

    Examples
    --------
    >>> iau_names(188.736, -7.4421)
    ['J123456.64-072631.5']
    """
    names = []
    for lon, lat in _positions(ra, dec):
        hundredths = int(lon * 24_000 + _SLACK) % 8_640_000  # of a second of time
        tenths = int(abs(lat) * 36_000 + _SLACK)  # of an arcsecond
        seconds, fraction = divmod(hundredths, 100)
        arcsec, tenth = divmod(tenths, 10)
        sign = "-" if lat < 0 else "+"
        names.append(
            f"J{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}.{fraction:02d}"
            f"{sign}{arcsec // 3600:02d}{arcsec // 60 % 60:02d}{arcsec % 60:02d}.{tenth}"
        )
    return names


def desi_names(ra: ArrayLike, dec: ArrayLike) -> list[str]:
    """Return ``DESI-RRR.RRRR+DD.DDDD`` of each position [deg], rounded to four decimals, halves away from zero.

    Examples
    --------
    >>> desi_names(5.38505, -0.00004)
    ['DESI-005.3851-00.0000']
    """
    names = []
    for lon, lat in _positions(ra, dec):
        units_ra, units_dec = _rounded(lon) % 3_600_000, _rounded(abs(lat))
        sign = "-" if lat < 0 else "+"
        names.append(
            f"DESI-{units_ra // 10_000:03d}.{units_ra % 10_000:04d}"
            f"{sign}{units_dec // 10_000:02d}.{units_dec % 10_000:04d}"
        )
    return names


def _rounded(degrees: float) -> int:
    """Return ten-thousandths of a degree, halves up, of the shortest decimal that is this binary number."""
    return int(Fraction(repr(degrees)) * 10_000 + Fraction(1, 2))


def resolve_collisions(names: Iterable[str]) -> list[str]:
    """Append a, b, c... to names that occur more than once, in their order; others stay as they are.

    Examples
    --------
    >>> resolve_collisions(["J1", "J2", "J1"])
    ['J1a', 'J2', 'J1b']
    """
    names = list(names)
    total = Counter(names)
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        if total[name] > 1:
            result.append(name + _letters(seen[name]))
            seen[name] += 1
        else:
            result.append(name)
    return result


def _letters(number: int) -> str:
    """Return a, b, ..., z, aa, ab, ... for 0, 1, ..., 25, 26, 27, ..."""
    text = ""
    number += 1
    while number > 0:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("a") + rest) + text
    return text
