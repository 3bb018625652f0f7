"""Rows of a Tractor table from a TAP service, one box of the sky at a time.

Only what every TAP service understands is used: ``SELECT TOP n``, comparisons of columns, boxes in RA and Dec. Circles
are reported to be missing, or rejected by the parser, at the service that has DR10. An answer is believed when it says
that it is complete: services report errors with status 200, cut results at limits of their own, and break off in the
middle of a table.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import requests
from astropy.io.votable.exceptions import VOWarning
from pydantic import Field
from pyvo.dal import AsyncTAPJob, DALFormatError, DALOverflowWarning, DALQueryError, DALServiceError, TAPService
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from legacylens.catalog.parent import ParentCuts
from legacylens.catalog.sweeps import COLUMNS, FILLABLE, describe_missing
from legacylens.errors import FileProblem, InputError
from legacylens.photometry import flux_of_magnitude
from legacylens.settings import Settings
from legacylens.survey.bands import BANDS

_RETRY_STATUS = (429, 502, 503, 504)
_FINAL_PHASES = ("COMPLETED", "ERROR", "ABORTED")
_FLUX_SLACK = 1.0 - 1e-5
"""The service compares float32 columns; the cut itself is made here, so the service's is a little wider."""


class TapConfig(Settings):
    """Which service is asked, and how."""

    url: str = Field(default="https://datalab.noirlab.edu/tap", min_length=1)
    """Address of the service, without ``/sync``."""
    table: str = Field(default="ls_dr10.tractor_s", pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")
    """Table of sources. ``ls_dr10.tractor_s`` is DR10 in the south; ``ls_dr10.tractor`` has rows of DR9 north too."""
    mode: Literal["sync", "async"] = "sync"
    """Wait for each answer, or leave a job with the service and come back for it: slower, for large boxes."""
    tile_deg: float = Field(default=1.0, gt=0, le=30)
    """Side of the boxes that are asked for one after the other [deg]."""
    max_rows: int = Field(default=200_000, ge=1)
    """Most rows of an answer; a box that has as many is cut in four and asked for again."""
    attempts: int = Field(default=5, ge=1, le=50)
    """Attempts at a request that fails by the network or by a busy service; ``Retry-After`` is obeyed."""
    backoff_s: float = Field(default=2.0, ge=0, le=600)
    """First pause between attempts [s]; it doubles up to two minutes."""
    timeout_s: float = Field(default=300.0, gt=0)
    """Longest silence of the service [s]; also the longest time that a job may take, times ten."""
    poll_s: float = Field(default=3.0, gt=0, le=600)
    """Pause between two looks at a job [s]."""
    stop_after: int = Field(default=3, ge=1)
    """Boxes in a row that the service fails at before the rest are given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyBox:
    """A box in RA and Dec [deg], lower edges inside, upper edges outside (but the north pole is inside)."""

    ra_min: float
    """Lower edge in RA, in [0, 360)."""
    ra_max: float
    """Upper edge in RA, up to 360."""
    dec_min: float
    """Lower edge in Dec."""
    dec_max: float
    """Upper edge in Dec."""

    def __str__(self) -> str:
        """Return the box in words."""
        return f"RA {self.ra_min:g}..{self.ra_max:g}, Dec {self.dec_min:g}..{self.dec_max:g}"

    def quarters(self) -> list[SkyBox]:
        """Return the four boxes that it is made of."""
        ra, dec = 0.5 * (self.ra_min + self.ra_max), 0.5 * (self.dec_min + self.dec_max)
        return [
            SkyBox(ra_min=west, ra_max=east, dec_min=low, dec_max=high)
            for low, high in ((self.dec_min, dec), (dec, self.dec_max))
            for west, east in ((self.ra_min, ra), (ra, self.ra_max))
        ]


def parse_box(text: str) -> tuple[float, float, float, float]:
    """Parse ``RA1,RA2,DEC1,DEC2`` [deg]; RA1 > RA2 means a box through RA = 0.

    Raises
    ------
    InputError
        If it is no such box.
    """
    try:
        ra_min, ra_max, dec_min, dec_max = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"box {text!r} is not RA1,RA2,DEC1,DEC2 in degrees, e.g. 149,152,1,3") from error
    if not (0 <= ra_min <= 360 and 0 <= ra_max <= 360 and -90 <= dec_min < dec_max <= 90 and ra_min != ra_max):
        raise InputError(
            f"box {text!r}: RA must lie in [0, 360], Dec in [-90, 90] with DEC1 < DEC2, and RA1 differ from RA2 "
            "(RA1 > RA2 is a box through RA = 0)"
        )
    return ra_min, ra_max, dec_min, dec_max


def tiles_of(box: tuple[float, float, float, float], side: float) -> list[SkyBox]:
    """Cut a box into tiles of about ``side`` [deg] on the sky; every position of the box is in one of them."""
    ra_min, ra_max, dec_min, dec_max = box
    ranges = [(ra_min, ra_max)] if ra_min < ra_max else [(ra_min, 360.0), (0.0, ra_max)]
    decs = np.linspace(dec_min, dec_max, max(1, int(np.ceil((dec_max - dec_min) / side - 1e-9))) + 1).tolist()
    tiles = []
    for low, high in itertools.pairwise(decs):
        widest = 1.0 if low * high <= 0 else max(np.cos(np.radians(low)), np.cos(np.radians(high)))
        for west, east in ranges:
            n = max(1, int(np.ceil((east - west) * widest / side - 1e-9)))
            edges = np.linspace(west, east, n + 1).tolist()
            tiles += [
                SkyBox(ra_min=a, ra_max=b, dec_min=low, dec_max=high) for a, b in itertools.pairwise(edges) if a < b
            ]
    return tiles


def query_of(box: SkyBox, config: TapConfig, cuts: ParentCuts, columns: Collection[str]) -> str:
    """Return the ADQL that asks for the sources of a box that can be parents.

    The cuts on type, exposures and flux are made by the service, which has far more rows than anybody wants to fetch,
    a little wider than `legacylens.catalog.parent.select_parent` makes them; that function has the last word.
    """
    wanted = [name for name in COLUMNS if name in columns]
    types = ", ".join(f"'{name}'" for name in cuts.types)
    north = "<=" if box.dec_max >= 90 else "<"
    conditions = [
        f"ra >= {box.ra_min!r} AND ra < {box.ra_max!r}",
        f"dec >= {box.dec_min!r} AND dec {north} {box.dec_max!r}",
        f"type IN ({types})",
        *(f"nobs_{band} >= {cuts.nobs_min}" for band in BANDS),
        f"flux_z > {float(flux_of_magnitude(cuts.z_mag_max)) * _FLUX_SLACK:.6f} * mw_transmission_z",
        *(["brick_primary = 1"] if "brick_primary" in columns else []),
    ]
    return f"SELECT TOP {config.max_rows} {', '.join(wanted)} FROM {config.table} WHERE {' AND '.join(conditions)}"


class _PatientSession(requests.Session):
    """A session with a time limit, and further attempts where the service is busy."""

    def __init__(self, config: TapConfig) -> None:
        super().__init__()
        self._limits = (20.0, config.timeout_s)
        retry = Retry(
            total=config.attempts - 1,
            backoff_factor=config.backoff_s,
            status_forcelist=_RETRY_STATUS,
            allowed_methods=None,  # a query changes nothing: it may be sent twice
            respect_retry_after_header=True,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self.mount(scheme, HTTPAdapter(max_retries=retry))

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request; a limit of its own stays."""
        kwargs["timeout"] = kwargs.get("timeout") or self._limits
        return super().request(*args, **kwargs)


class TapTable:
    """A table of sources at a TAP service."""

    def __init__(self, config: TapConfig) -> None:
        self.config = config
        self._session = _PatientSession(config)
        self._service = TAPService(config.url.rstrip("/"), session=self._session)
        self._columns: tuple[str, ...] | None = None

    def problem(self, what: str, remedy: str, reason: str) -> FileProblem:
        """Return the error that names the service and the table."""
        return FileProblem(f"{self.config.url} {self.config.table}", what, remedy, reason=reason)

    def _silence(self, error: BaseException) -> FileProblem:
        return self.problem(
            f"the service does not answer ({_one_line(error)})",
            "Check the address and the network, then run the same command again: what has come is kept.",
            "unreachable",
        )

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def columns(self) -> tuple[str, ...]:
        """Return the names of the table's columns, lower case.

        Raises
        ------
        FileProblem
            If the service cannot be asked, has no such table, or the table lacks columns without which there is no
            parent sample.
        """
        if self._columns is None:
            rows = self.ask(
                f"SELECT column_name FROM tap_schema.columns WHERE table_name = '{self.config.table}'",
                mode="sync",
            )
            names = tuple(str(name).strip().strip('"').lower() for name in rows["column_name"]) if len(rows) else ()
            if not names:
                raise self.problem(
                    "the service has no such table",
                    "Name another one (--table); its web page lists them.",
                    "missing-table",
                )
            missing = [name for name in COLUMNS if name not in names and name not in FILLABLE]
            if missing:
                raise self.problem(
                    f"without the columns {'; '.join(describe_missing(missing))}",
                    "Name a table of Tractor sources, such as ls_dr10.tractor_s.",
                    "missing-columns",
                )
            self._columns = names
        return self._columns

    def ask(self, query: str, *, mode: str | None = None) -> pd.DataFrame:
        """Send a query and return its rows as they come, masked values as NaN or None.

        Raises
        ------
        FileProblem
            If there is no whole answer: reasons ``unreachable``, ``refused`` (the service says why), ``truncated``
            (broken off, or not a VOTable) and ``overflow`` (cut at a limit).
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VOWarning)  # services differ in how strictly they write VOTables
            warnings.simplefilter("ignore", DALOverflowWarning)  # an error here, raised below
            try:
                if (mode or self.config.mode) == "sync":
                    result = self._service.run_sync(query, maxrec=self.config.max_rows)
                else:
                    result = self._job_result(query)
                overflow = result.status[0].upper() == "OVERFLOW"
                rows = len(result)
                frame = _frame_of(result.to_table()) if not overflow else pd.DataFrame()
            except DALQueryError as error:
                raise self.problem(
                    f"the service refuses the query ({_one_line(error)})",
                    "Check the table (--table); the query was: " + query,
                    "refused",
                ) from error
            except (DALServiceError, requests.RequestException) as error:
                raise self._silence(error) from error
            except (DALFormatError, ValueError, IndexError, OSError) as error:
                if isinstance(getattr(error, "cause", None), requests.RequestException):
                    raise self._silence(error) from error
                # pyvo passes on whatever the XML parser raises when a table ends too early.
                raise self.problem(
                    f"the answer is no whole VOTable ({_one_line(error)})",
                    "Run the same command again: what has come is kept.",
                    "truncated",
                ) from error
        if overflow or rows >= self.config.max_rows:
            raise self.problem(
                f"more rows than the {rows:,} that came", "Ask for smaller boxes (tile_deg).", "overflow"
            )
        return frame

    def _job_result(self, query: str) -> Any:
        job: AsyncTAPJob = self._service.submit_job(query, maxrec=self.config.max_rows)
        try:
            job.run()
            deadline = time.monotonic() + 10 * self.config.timeout_s
            while job.phase not in _FINAL_PHASES:
                if time.monotonic() > deadline:
                    raise DALServiceError(f"the job {job.url} is not done after {10 * self.config.timeout_s:g} s")
                time.sleep(self.config.poll_s)
            job.raise_if_error()
            return job.fetch_result()
        finally:
            job.delete()

    def box(self, box: SkyBox, cuts: ParentCuts) -> tuple[pd.DataFrame, int]:
        """Return the sources of a box in the columns and types of a sweep, and the number of queries that took.

        Raises
        ------
        FileProblem
            As `ask` and `columns` raise; a box that overflows is cut in four until it does not.
        """
        columns = self.columns()
        try:
            rows = self.ask(query_of(box, self.config, cuts, columns))
        except FileProblem as problem:
            if problem.reason != "overflow" or box.dec_max - box.dec_min < 1e-3:
                raise
            parts = [self.box(quarter, cuts) for quarter in box.quarters()]
            return pd.concat([part for part, _ in parts], ignore_index=True), 1 + sum(asked for _, asked in parts)
        return sweep_rows(rows, columns), 1


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:300] or type(error).__name__


def _frame_of(table: Any) -> pd.DataFrame:
    """Return an astropy table as a DataFrame; names in lower case, masked numbers as NaN."""
    content: dict[str, Any] = {}
    for name in table.colnames:
        column = table[name]
        values = np.asarray(column.filled() if hasattr(column, "filled") else column)
        mask = np.asarray(getattr(column, "mask", np.zeros(len(table), dtype=bool)))
        if values.dtype.kind in "SUO":
            texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values.tolist()]
            content[name.lower()] = pd.array([text.strip() for text in texts], dtype="str")
        elif mask.any():
            content[name.lower()] = np.where(mask, np.nan, values.astype(np.float64))
        else:
            content[name.lower()] = values.astype(values.dtype.newbyteorder("="))
    return pd.DataFrame(content)


def sweep_rows(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return rows in the columns and types of a sweep.

    Columns that the table lacks are NaN. What is masked passes no cut: a masked number of exposures or mask value
    becomes -1 (no exposure, every bit set), and a row whose identity is masked loses its position.
    """
    content: dict[str, Any] = {}
    for name, column in COLUMNS.items():
        if name not in columns:
            content[name] = np.full(len(rows), np.nan, dtype=column.dtype)
        elif column.dtype == "str":
            content[name] = pd.array(rows[name].astype("str").to_numpy(), dtype="str")
        elif column.dtype.startswith("int"):
            content[name] = rows[name].fillna(-1).to_numpy().astype(column.dtype)
        else:
            content[name] = rows[name].to_numpy().astype(column.dtype)
    unnamed = rows[["release", "brickid", "objid"]].isna().any(axis=1).to_numpy()
    content["ra"] = np.where(unnamed, np.nan, content["ra"])
    return pd.DataFrame(content)
