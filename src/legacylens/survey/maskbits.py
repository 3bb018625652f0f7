"""The bits of MASKBITS, one registry for decoding, selection and documentation.

Source: DR10 bit mask page (the values are those of DR9 and DR10; earlier releases differ, which is why a reader
should compare them with the header of the file where it has them, see `values_from_header`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from legacylens.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskBit:
    """One bit of MASKBITS."""

    bit: int
    """Position, from 0."""
    name: str
    """The survey's name."""
    description: str
    """What it marks."""

    @property
    def value(self) -> int:
        """The integer with only this bit set."""
        return 1 << self.bit


MASKBITS: Mapping[str, MaskBit] = {
    name: MaskBit(bit=bit, name=name, description=description)
    for bit, name, description in (
        (0, "NPRIMARY", "not in the brick's primary area"),
        (1, "BRIGHT", "touches a bright star (Tycho-2 or Gaia G < 13)"),
        (2, "SATUR_G", "saturated in g"),
        (3, "SATUR_R", "saturated in r"),
        (4, "SATUR_Z", "saturated in z"),
        (5, "ALLMASK_G", "masked in every g exposure"),
        (6, "ALLMASK_R", "masked in every r exposure"),
        (7, "ALLMASK_Z", "masked in every z exposure"),
        (8, "WISEM1", "WISE W1 bright-star mask"),
        (9, "WISEM2", "WISE W2 bright-star mask"),
        (10, "BAILOUT", "in a blob whose fit was given up"),
        (11, "MEDIUM", "touches a medium-bright star (Gaia G < 16)"),
        (12, "GALAXY", "in a large galaxy of the Siena Galaxy Atlas"),
        (13, "CLUSTER", "in a globular cluster or planetary nebula"),
        (14, "SATUR_I", "saturated in i"),
        (15, "ALLMASK_I", "masked in every i exposure"),
        (16, "SUB_BLOB", "in a blob that was fitted in pieces"),
    )
}
"""Name -> bit."""


def mask_value(*names: str) -> int:
    """Return the integer with the named bits set.

    Raises
    ------
    InputError
        If a name is not a bit of MASKBITS.

    Examples
    --------
    >>> mask_value("BRIGHT", "MEDIUM")
    2050
    """
    unknown = [name for name in names if name not in MASKBITS]
    if unknown:
        raise InputError(f"unknown mask bits {unknown}: MASKBITS has {', '.join(MASKBITS)}")
    value = 0
    for name in names:
        value |= MASKBITS[name].value
    return value


def names_of(value: int) -> tuple[str, ...]:
    """Return the names of the bits that are set in ``value``.

    Examples
    --------
    >>> names_of(2050)
    ('BRIGHT', 'MEDIUM')
    """
    return tuple(bit.name for bit in MASKBITS.values() if value & bit.value)


def values_from_header(header: Mapping[str, object]) -> dict[str, int]:
    """Return the bit values that a maskbits file states itself.

    Parameters
    ----------
    header
        Header of a ``-maskbits`` image, where legacypipe writes ``MB_<bit> = name`` cards.

    Returns
    -------
    values
        Name -> integer value, empty if the header states none.
    """
    values = {}
    for key, name in header.items():
        if key.upper().startswith("MB_") and key[3:].isdigit():
            values[str(name).strip().upper()] = 1 << int(key[3:])
    return values
