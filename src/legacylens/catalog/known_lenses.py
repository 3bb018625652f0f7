"""Everything that is known to be, or said to be, a lens: lenscat, the published lists and the user's own, merged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from legacylens.catalog.positions import ListProblem
from legacylens.catalog.published import LensList, read_lenscat, read_published, read_user_list
from legacylens.catalog.systems import TIERS, Merged, merge_systems, name_offsets, shared_names
from legacylens.errors import FileProblem, InputError
from legacylens.files import write_json, write_parquet
from legacylens.provenance import write_provenance

__all__ = ["KnownLenses", "gather", "merge_systems", "read_lenscat", "read_published", "read_user_list", "write"]

SYSTEMS_NAME = "systems.parquet"
"""Name of the table of systems in the output folder."""
ENTRIES_NAME = "entries.parquet"
"""Name of the table of entries in the output folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLenses:
    """Known lenses, and what it took to bring them together."""

    entries: pd.DataFrame
    """One row for each time a list has a system; see `legacylens.catalog.published.ENTRY_COLUMNS`."""
    systems: pd.DataFrame
    """One row for each system; see `legacylens.catalog.systems.SYSTEM_COLUMNS`."""
    lists: tuple[LensList, ...]
    """The lists that were read."""
    left_out: tuple[FileProblem, ...]
    """The lists that could not be used."""
    radius: float
    """Merging radius [arcsec]."""
    chains: int
    """Groups that were too wide to be one system and were cut."""
    joined_by_name: int
    """Systems that were joined to another one because they share a name."""

    @property
    def problems(self) -> tuple[ListProblem, ...]:
        """Rows left out, and notes, of all lists."""
        return tuple(problem for each in self.lists for problem in each.problems)

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as a JSON-compatible document."""
        entries, systems = self.entries, self.systems
        lenscat = entries[entries["source"] == "lenscat"]
        aliases = lenscat["name"].str.split("|").map(lambda names: [name.strip() for name in names])
        desi = aliases.map(lambda names: any(name.startswith("DESI-") for name in names))
        merged = Merged(entries=entries, systems=systems, chains=self.chains)
        offsets, shared = name_offsets(merged), shared_names(merged)
        bad: Counter[str] = Counter()
        notes: Counter[str] = Counter()
        for problem in self.problems:
            (bad if problem.left_out else notes)[problem.reason] += problem.count
        return {
            "rows": sum(each.rows for each in self.lists if each.source == "lenscat"),
            "desi_named": int(desi.sum()),
            "desi_named_systems": int(systems["names"].str.contains(r"(?:^|\| )DESI-").sum()),
            "desi_named_first": int(lenscat["name"].str.startswith("DESI-").sum()),
            "desi_rule": "rows of lenscat of which any alias starts with 'DESI-'; ..._first: the first alias does",
            "confident": int((lenscat["grade"] == "confident").sum()),
            "probable": int((lenscat["grade"] == "probable").sum()),
            "systems": len(systems),
            "entries": len(entries),
            "merged": len(entries) - len(systems),
            "aliases": int((systems["names"].str.count(r"\|") + (systems["names"] != "")).sum()),
            "radius_arcsec": self.radius,
            "widest_system_arcsec": float(systems["extent"].max()) if len(systems) else 0.0,
            "chains_cut": self.chains,
            "joined_by_name": self.joined_by_name,
            "tiers": {str(tier): int((systems["tier"] == tier).sum()) for tier in TIERS},
            "tier_meaning": {str(tier): meaning for tier, meaning in TIERS.items()},
            "grades": _counts(systems["grade"].replace("", "ungraded")),
            "channels": _counts(systems["channel"]),
            "only_targets": int(systems["target"].sum()),
            "unlisted": int(systems["unlisted"].sum()),
            "disputed": int(systems["disputed"].sum()),
            "with_theta_E": int(systems["theta_E"].notna().sum()),
            "with_z_l": int(systems["z_l"].notna().sum()),
            "with_z_s": int(systems["z_s"].notna().sum()),
            "name_disagrees": {
                "entries": len(offsets),
                "by_source": _counts(offsets["source"]),
                "examples": offsets.head(5).to_dict("records"),
            },
            "names_shared": {
                "names": len(shared),
                "within_60_arcsec": int((shared["separation"] < 60).sum()),
                "examples": shared.head(5).to_dict("records"),
            },
            "lists": [
                {
                    "source": each.source,
                    "path": each.path,
                    "rows": each.rows,
                    "used": len(each.entries),
                    "grades": _counts(each.entries["grade"].replace("", "ungraded")),
                    "problems": [str(problem).removeprefix(f"{each.path}: ") for problem in each.problems],
                }
                for each in self.lists
            ],
            "rows_left_out": dict(sorted(bad.items())),
            "notes": dict(sorted(notes.items())),
            "lists_left_out": [
                {"path": problem.path, "reason": problem.reason, "problem": str(problem)} for problem in self.left_out
            ],
        }


def _counts(values: pd.Series) -> dict[str, int]:
    return {str(key): int(count) for key, count in sorted(Counter(values.tolist()).items())}


def gather(
    *,
    lenscat: bool | str | Path = True,
    published: str | Path | None = None,
    lists: Sequence[str | Path] = (),
    column_map: Mapping[str, str] | None = None,
    channel: str = "",
    radius: float = 3.0,
) -> KnownLenses:
    """Read lists of lenses and merge them into systems.

    Parameters
    ----------
    lenscat
        True: the catalog of the installed package; a path: a file in its format; False: without it.
    published
        Folder with the published candidate lists.
    lists
        The user's lists. One that cannot be used is left out and reported; the rest go on.
    column_map
        Column map of the user's lists, see `read_user_list`.
    channel
        Discovery channel of the user's rows that name none.
    radius
        Merging radius [arcsec].

    Raises
    ------
    InputError
        If lenscat is asked for but not installed, or nothing is left to read.
    """
    found: list[LensList] = []
    left_out: list[FileProblem] = []
    if lenscat is not False:
        found.append(read_lenscat(None if lenscat is True else lenscat))
    if published is not None:
        found += read_published(published)
    for path in lists:
        try:
            found.append(read_user_list(path, column_map, channel=channel))
        except FileProblem as problem:
            left_out.append(problem)
    if not found:
        raise left_out[0] if left_out else InputError("no list of lenses was given")
    merged = merge_systems(pd.concat([each.entries for each in found], ignore_index=True), radius)
    return KnownLenses(
        entries=merged.entries,
        systems=merged.systems,
        lists=tuple(found),
        left_out=tuple(left_out),
        radius=radius,
        chains=merged.chains,
        joined_by_name=merged.joined_by_name,
    )


def write(known: KnownLenses, out: str | Path) -> dict[str, Any]:
    """Write systems, entries and the report into a folder; return the report."""
    folder = Path(out)
    report = known.as_dict()
    units = {"ra": "deg", "dec": "deg", "step": "arcsec", "theta_E": "arcsec", "extent": "arcsec"}
    write_parquet(folder / ENTRIES_NAME, known.entries, units=units)
    write_parquet(folder / SYSTEMS_NAME, known.systems, units=units)
    write_json(folder / "report.json", report)
    write_provenance(
        folder,
        step="known-lenses",
        configuration={"radius": known.radius},
        inputs={each.source: each.path for each in known.lists},
        results={key: report[key] for key in ("rows", "desi_named", "confident", "systems", "tiers")},
    )
    return report
