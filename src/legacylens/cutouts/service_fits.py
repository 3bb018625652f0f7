"""Reading the FITS images that the service sends: whole or refused.

A general reader forgives what must not be forgiven here (an answer cut short is padded or read in part), so the few
kinds of images that the service sends are walked block by block, against the number of bytes that came. Header cards
are read here too: that of astropy takes half of the client's time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from legacylens.errors import FileProblem

BLOCK = 2880
"""FITS block [byte]."""

MAX_HEADER_BLOCKS = 64
"""Longest header that is believed; the service's have one or two blocks."""

_DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


CardValue = str | int | float | bool

_CARD = re.compile(
    r"([A-Z0-9_-]{1,8}) *= +(?:'(?P<text>(?:[^']|'')*)'|(?P<plain>[^ /]+)) *(?:/.*)?$",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hdu:
    """One header and its image."""

    header: Mapping[str, CardValue]
    """Keyword -> value, of the cards that have one."""
    data: NDArray[np.generic] | None
    """The array in native byte order, or None if the header has none."""

    def text(self, name: str) -> str:
        """Return a text card without padding, "" where there is none."""
        return str(self.header.get(name, "")).strip()


def looks_like_fits(body: bytes) -> bool:
    """Whether the bytes start as every FITS file does."""
    return body.startswith(b"SIMPLE  =")


def read_hdus(url: str, body: bytes) -> list[Hdu]:
    """Read every header and image of an answer.

    Parameters
    ----------
    url
        Where the bytes came from, for messages.
    body
        The answer.

    Raises
    ------
    FileProblem
        If it is no FITS (``not-fits``), ends too early (``truncated``), or holds something else than images
        (``other-layout``).
    """
    if not looks_like_fits(body):
        raise FileProblem(
            url, f"the answer is no FITS file but {describe(body)}", "Ask again; see the text.", reason="not-fits"
        )
    hdus, place = [], 0
    while place < len(body):
        header, place = _header(url, body, place)
        hdu, place = _image(url, body, header, place)
        hdus.append(hdu)
    return hdus


def _truncated(url: str, what: str) -> FileProblem:
    return FileProblem(url, f"the answer was cut short: {what}", "Ask again.", reason="truncated")


def card_value(card: str) -> tuple[str, CardValue] | None:
    """Return keyword and value of a header card of 80 characters, None if it has no value (FITS standard 4.0, 4.2).

    Complex numbers and long strings (``CONTINUE``) are not known here; the service sends none.
    """
    match = _CARD.match(card.rstrip())
    if match is None:
        return None
    keyword = match[1]
    if match["text"] is not None:
        return keyword, match["text"].replace("''", "'").rstrip()
    plain = match["plain"]
    if plain in ("T", "F"):
        return keyword, plain == "T"
    try:
        return keyword, int(plain)
    except ValueError:
        pass
    try:
        return keyword, float(plain.replace("D", "E"))
    except ValueError:
        return None


def _header(url: str, body: bytes, place: int) -> tuple[dict[str, CardValue], int]:
    for blocks in range(1, MAX_HEADER_BLOCKS + 1):
        end = place + blocks * BLOCK
        if end > len(body):
            raise _truncated(url, f"it ends within the header that starts at byte {place}")
        last = body[end - BLOCK : end]
        if any(last[card : card + 8] == b"END     " for card in range(0, BLOCK, 80)):
            try:
                text = body[place:end].decode("ascii")
            except UnicodeDecodeError as error:
                raise FileProblem(
                    url, f"a header that cannot be read ({error})", "Ask again.", reason="not-fits"
                ) from error
            cards = (card_value(text[card : card + 80]) for card in range(0, len(text), 80))
            return dict(pair for pair in cards if pair is not None), end
    raise FileProblem(url, "a header without end", "Ask again.", reason="not-fits")


def _image(url: str, body: bytes, header: Mapping[str, CardValue], place: int) -> tuple[Hdu, int]:
    try:
        kind = str(header.get("XTENSION", "IMAGE")).strip()
        dtype = np.dtype(_DTYPES[int(header["BITPIX"])])
        shape = tuple(int(header[f"NAXIS{axis}"]) for axis in range(int(header["NAXIS"]), 0, -1))
        is_plain = int(header.get("PCOUNT", 0)) == 0 and int(header.get("GCOUNT", 1)) == 1
        scale, zero = float(header.get("BSCALE", 1.0)), float(header.get("BZERO", 0.0))
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise FileProblem(url, f"a header without a valid {error}", "Ask again.", reason="other-layout") from error
    if kind != "IMAGE" or not is_plain or any(side < 0 for side in shape):
        raise FileProblem(url, f"an extension of kind {kind} where images belong", "Ask again.", reason="other-layout")
    if not shape or math.prod(shape) == 0:
        return Hdu(header=header, data=None), place
    size = math.prod(shape) * dtype.itemsize
    if place + size > len(body):
        raise _truncated(url, f"{len(body) - place} of {size} bytes of an image of shape {shape} came")
    data = np.frombuffer(body, dtype, math.prod(shape), place).reshape(shape)
    native = data.astype(dtype.newbyteorder("="))
    if (scale, zero) != (1.0, 0.0):
        native = native * scale + zero
    end = place + -(-size // BLOCK) * BLOCK
    if end > len(body):
        # Nothing of this image is lacking, but perhaps the next one.
        raise _truncated(url, f"it ends within a block of {BLOCK} bytes, and FITS has whole blocks only")
    return Hdu(header=header, data=native), end


def describe(body: bytes) -> str:
    """Say in a few words what an answer is that is not what was asked for."""
    if not body:
        return "empty"
    text = body[:4000].decode("utf-8", "replace")
    if "<html" in text.lower() or "<!doctype" in text.lower():
        lowered = text.lower()
        start = lowered.find("<title>")
        title = " ".join(text[start + 7 : lowered.find("</title>", start)].split()) if start >= 0 else ""
        return "a page of HTML" + (f" with the title {title[:80]!r}" if title else "")
    if body.startswith(b"\xff\xd8"):
        return "a JPEG"
    is_readable = [character != "\ufffd" and (character.isprintable() or character.isspace()) for character in text]
    printable = sum(is_readable) / len(text)
    if printable > 0.95:
        return f"the text {' '.join(text.split())[:120]!r}"
    return f"{len(body)} bytes that start with {body[:8].hex()}"
