"""Entries of many lists merged into systems: one row for each lens on the sky.

The rule. Entries within the radius of each other are linked, and linked entries form a group. If no two members of a
group lie farther apart than twice the radius, the group is one system. Otherwise the group is a chain, and it is cut
by complete linkage at twice the radius: the two clusters whose farthest members are nearest are joined first, as long
as those lie within twice the radius. So position alone never makes a system wider than twice the radius, however long
the chain.

Afterwards systems are joined that share a name which carries a position to the arcsecond (DESI-029.2189-01.6962,
J022549+012034), if the entries of that name lie within `NAME_RADII` radii of each other: lists that disagree by some
arcseconds about one object. The position is then that of an entry which agrees with its name.

The entries are sorted by what they say before anything else is done, so the result does not depend on the order in
which the lists, or the rows of a list, were given.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from legacylens.catalog.channels import CHANNELS, COMPILATIONS
from legacylens.catalog.positions import positions_in_names
from legacylens.catalog.published import ENTRY_COLUMNS, GRADES, PUBLISHED
from legacylens.errors import PhysicalRangeError
from legacylens.survey.sphere import groups_within, separation_arcsec

SYSTEM_COLUMNS = {
    "system_id": "L and the position in degrees: stable as long as the position is",
    "ra": "right ascension [deg], of an entry that agrees with its name, among those of the finest coordinates",
    "dec": "declination [deg], of the same entry",
    "tier": "1 secure, 2 likely, 3 possible, 4 doubtful, 5 rejected (see TIERS)",
    "grade": "best grade of all entries",
    "grades": "every grade with its source, e.g. 'huang2021:A | lenscat:probable'",
    "channel": "the discovery channel that is most independent of imaging networks",
    "channels": "all discovery channels, separated by '|'",
    "names": "all names, separated by ' | '",
    "sources": "all lists, separated by '|'",
    "papers": "all papers, separated by '|'",
    "kind": "galaxy, group or cluster where an entry says so, separated by '|'",
    "theta_E": "median of the Einstein radii given [arcsec]",
    "z_l": "redshift of the lens: median of the spectroscopic ones, else of all",
    "z_l_kind": "spec if from spectra, empty if no source says how",
    "z_s": "median of the redshifts of the source",
    "n_entries": "number of entries",
    "extent": "largest distance between two entries [arcsec]",
    "target": "whether every entry is a catalog of clusters or X-ray sources",
    "unlisted": "whether it cites papers whose published lists were read and do not have it",
    "disputed": "whether every entry's name says another position (see DISPUTED)",
}
"""Columns of the systems."""

TIERS = {
    1: "secure: confirmed by spectra, or graded confident by lenscat (which is no spectroscopic confirmation)",
    2: "likely: graded A or B in a published list",
    3: "possible: graded C or probable, or listed without a grade",
    4: "doubtful: only in catalogs of clusters, not in the published list (A to C) that it cites, or disputed position",
    5: "rejected: graded D and nothing better",
}
"""Tier -> meaning. Only tiers 1 and 2 are labels to learn from; every tier is kept away from negatives."""

NAME_RADII = 5.0
"""Entries with the same name are one system up to so many radii, if the name carries a position."""

PRECISE_NAME = 25.0
"""Largest uncertainty of the position in such a name [arcsec]: that of whole seconds of time."""

DISPUTED = 60.0
"""By how much the position in an entry's name must differ from its coordinates, beyond the precision of the name, for
the entry to count as disputed [arcsec]. In lenscat some rows have lost the hours of RA and the degrees of Dec."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """Entries and the systems they make."""

    entries: pd.DataFrame
    """The entries, sorted, with ``system_id`` in front and ``name_offset`` at the end: the distance [arcsec] between
    the coordinates and the position that the name carries, NaN if it carries none."""
    systems: pd.DataFrame
    """One row for each system, with `SYSTEM_COLUMNS`, by RA."""
    chains: int
    """Groups that were wider than twice the radius and were cut."""
    joined_by_name: int = 0
    """Systems that were joined to another one because they share a name."""


def _groups(group: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the members of each group, in their order."""
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(group) else []


def _split_chains(
    ra: NDArray[np.float64], dec: NDArray[np.float64], group: NDArray[np.int64], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    """Cut groups that are too wide; return new group numbers, the extent of each entry's group, and the cuts."""
    group = group.copy()
    extent = np.zeros(len(group))
    chains = 0
    following = int(group.max()) + 1 if len(group) else 0
    for members in _groups(group):
        if len(members) == 1:
            continue
        first, second = np.triu_indices(len(members), k=1)
        distance = separation_arcsec(ra[members[first]], dec[members[first]], ra[members[second]], dec[members[second]])
        if distance.max() <= 2 * radius:
            extent[members] = distance.max()
            continue
        chains += 1
        label = fcluster(linkage(distance, method="complete"), t=2 * radius, criterion="distance")
        square = squareform(distance)
        for each in np.unique(label):
            part = label == each
            group[members[part]] = following
            extent[members[part]] = square[np.ix_(part, part)].max()
            following += 1
    return group, extent, chains


def _join_by_name(
    table: pd.DataFrame, group: NDArray[np.int64], extent: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    """Join groups that share a name with a position; return group numbers, extents, and how many groups vanished."""
    aliases = _alias_table(table)
    _, _, tolerance = positions_in_names(aliases["name"].tolist())
    aliases = aliases[np.nan_to_num(tolerance, nan=np.inf) <= PRECISE_NAME]
    aliases = aliases.assign(group=group[aliases["entry"].to_numpy(dtype=np.int64)])
    twice = aliases[aliases.groupby("name")["group"].transform("nunique") > 1]
    ra, dec = table["ra"].to_numpy(dtype=np.float64), table["dec"].to_numpy(dtype=np.float64)
    links: list[tuple[int, int]] = []
    for _, places in twice.groupby("name")["entry"]:
        members = places.to_numpy(dtype=np.int64)
        first, second = (members[index] for index in np.triu_indices(len(members), k=1))
        near = separation_arcsec(ra[first], dec[first], ra[second], dec[second]) <= radius
        links += zip(group[first[near]].tolist(), group[second[near]].tolist(), strict=True)
    if not links:
        return group, extent, 0
    n = int(group.max()) + 1
    rows, columns = np.array(links).T
    before = len(np.unique(group))
    _, label = connected_components(coo_array((np.ones(len(links)), (rows, columns)), shape=(n, n)), directed=False)
    group, extent = np.asarray(label, dtype=np.int64)[group], extent.copy()
    for each in np.unique(label[rows]):
        members = np.flatnonzero(group == each)
        first, second = (members[index] for index in np.triu_indices(len(members), k=1))
        extent[members] = separation_arcsec(ra[first], dec[first], ra[second], dec[second]).max()
    return group, extent, before - len(np.unique(group))


def _joined(texts: Iterable[str], mark: str) -> str:
    return mark.join(dict.fromkeys(text for text in texts if text))


def _median(values: NDArray[np.float64]) -> float:
    good = values[np.isfinite(values)]
    return float(np.median(good)) if len(good) else float("nan")


def _grade_rank(grade: str) -> int:
    """Rank of a grade; a grade that is not ours counts as none."""
    return GRADES.index(grade) if grade in GRADES else GRADES.index("")


def _aliases(name: str) -> list[str]:
    aliases = (alias.strip() for alias in name.split("|"))
    return [alias for alias in aliases if alias and alias != "-"]  # lenscat writes - where a paper gives no name


def _describe(rows: dict[str, list[Any]], lists_read: frozenset[str]) -> dict[str, object]:
    """Return the row of a system from the columns of its (sorted) entries."""
    ranks = [_grade_rank(grade) for grade in rows["grade"]]
    grade = rows["grade"][int(np.argmin(ranks))]
    best = min(ranks)
    channels = {channel for text in rows["channels"] for channel in text.split("|")}
    ordered = [channel for channel in CHANNELS if channel in channels] or ["other"]
    papers = {paper for text in rows["papers"] for paper in text.split("|") if paper}
    sources = set(rows["source"])
    target = all(rows["target"])
    discoveries = papers - COMPILATIONS
    read = {known.paper for known in PUBLISHED if known.complete and known.source in lists_read}
    unlisted = bool(discoveries) and discoveries <= read and not (sources & {known.source for known in PUBLISHED})
    disputed = all(excess > DISPUTED for excess in rows["name_excess"])
    if disputed:
        tier = 4
    elif best <= GRADES.index("confident"):
        tier = 1
    elif best <= GRADES.index("B"):
        tier = 2
    elif target or unlisted:
        tier = 4
    else:
        tier = 5 if best == GRADES.index("D") else 3
    z_l, kind = np.asarray(rows["z_l"]), np.asarray(rows["z_l_kind"])
    spectra = np.isfinite(z_l) & (kind == "spec")
    finest = min(
        range(len(ranks)), key=lambda place: (rows["name_excess"][place] > 0, rows["step"][place], ranks[place], place)
    )
    return {
        "ra": rows["ra"][finest],
        "dec": rows["dec"][finest],
        "tier": tier,
        "grade": grade,
        "grades": " | ".join(
            sorted({f"{source}:{each}" for source, each in zip(rows["source"], rows["grade"], strict=True) if each})
        ),
        "channel": ordered[0],
        "channels": "|".join(ordered),
        "names": _joined(sorted({alias for name in rows["name"] for alias in _aliases(name)}), " | "),
        "sources": "|".join(sorted(sources)),
        "papers": "|".join(sorted(papers)),
        "kind": _joined(sorted(set(rows["kind"])), "|"),
        "theta_E": _median(np.asarray(rows["theta_E"], dtype=np.float64)),
        "z_l": _median(z_l[spectra] if spectra.any() else z_l),
        "z_l_kind": "spec" if spectra.any() else _joined(sorted(set(kind)), "|"),
        "z_s": _median(np.asarray(rows["z_s"], dtype=np.float64)),
        "n_entries": len(ranks),
        "target": target,
        "unlisted": unlisted,
        "disputed": disputed,
    }


def merge_systems(entries: pd.DataFrame, radius: float = 3.0) -> Merged:
    """Merge entries into systems by position.

    Parameters
    ----------
    entries
        Rows with `ENTRY_COLUMNS`, of any number of lists, in any order.
    radius
        Entries within this distance are linked [arcsec]; no system is wider than twice it.

    Returns
    -------
    merged
        The same for every order of the entries.

    Raises
    ------
    PhysicalRangeError
        If the radius is not positive.
    """
    if not radius > 0:
        raise PhysicalRangeError("radius", radius, "> 0 arcsec", "3 arcsec is usual for catalogs of lenses.")
    keys = ["ra", "dec", *(name for name in ENTRY_COLUMNS if name not in ("ra", "dec"))]
    table = entries[list(ENTRY_COLUMNS)].sort_values(keys, kind="stable", ignore_index=True)
    ra, dec = table["ra"].to_numpy(dtype=np.float64), table["dec"].to_numpy(dtype=np.float64)
    group, extent, chains = _split_chains(ra, dec, groups_within(ra, dec, radius), radius)
    group, extent, joined = _join_by_name(table, group, extent, NAME_RADII * radius)
    lists_read = frozenset(table["source"].unique())
    table["name_offset"], excess = _name_offset(table)
    columns = {name: table[name].tolist() for name in ENTRY_COLUMNS} | {"name_excess": excess.tolist()}
    rows, label = [], np.empty(len(table), dtype=np.int64)
    for number, places in enumerate(_groups(group)):
        members = places.tolist()
        label[members] = number
        row = _describe({name: [values[place] for place in members] for name, values in columns.items()}, lists_read)
        rows.append({**row, "extent": extent[members[0]]})
    systems = pd.DataFrame(rows, columns=[name for name in SYSTEM_COLUMNS if name != "system_id"])
    names = np.array(
        [f"L{a:09.5f}{d:+09.5f}" for a, d in zip(systems["ra"], systems["dec"], strict=True)], dtype=object
    )
    systems.insert(0, "system_id", _unique(names))
    table.insert(0, "system_id", systems["system_id"].to_numpy()[label] if len(table) else [])
    text = ["system_id", "grade", "grades", "channel", "channels", "names", "sources", "papers", "kind", "z_l_kind"]
    systems = systems.astype(
        {**dict.fromkeys(text, "str"), "target": bool, "unlisted": bool, "disputed": bool, "extent": float}
    )
    systems = systems.sort_values(["ra", "dec", "system_id"], ignore_index=True)
    return Merged(
        entries=table.astype({"system_id": "str"}),
        systems=systems[list(SYSTEM_COLUMNS)],
        chains=chains,
        joined_by_name=joined,
    )


def _unique(names: NDArray[np.object_]) -> list[str]:
    """Append a, b, c... to names that occur again (systems of a cut chain within 0.04 arcsec)."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        place = seen.get(name, 0)
        seen[name] = place + 1
        result.append(name if place == 0 else f"{name}{chr(96 + place)}")
    return result


def _alias_table(entries: pd.DataFrame) -> pd.DataFrame:
    """Return ``entry`` (place in the table) and ``name`` for each alias of each entry."""
    aliases = pd.DataFrame({"entry": np.arange(len(entries)), "name": entries["name"].map(_aliases).to_numpy()})
    return aliases.explode("name", ignore_index=True).dropna(subset="name")


def _name_offset(entries: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distance to the position in each name, and by how much it exceeds the precision of the name.

    Of an entry with several aliases the one that agrees best counts; NaN if none carries a position.
    """
    aliases = _alias_table(entries)
    ra, dec, tolerance = positions_in_names(aliases["name"].tolist())
    known = np.isfinite(ra)
    place = aliases["entry"].to_numpy(dtype=np.int64)[known]
    offset = separation_arcsec(entries["ra"].to_numpy()[place], entries["dec"].to_numpy()[place], ra[known], dec[known])
    best = pd.DataFrame({"entry": place, "offset": offset, "excess": offset - tolerance[known]})
    best = best.sort_values(["entry", "excess"]).drop_duplicates("entry").set_index("entry")
    best = best.reindex(np.arange(len(entries)))
    return best["offset"].to_numpy(dtype=np.float64), best["excess"].to_numpy(dtype=np.float64)


def name_offsets(merged: Merged) -> pd.DataFrame:
    """Return the entries whose name carries a position that disagrees with their coordinates.

    Returns
    -------
    disagreements
        ``source``, ``row``, ``name``, ``ra``, ``dec`` and ``name_offset`` [arcsec], widest first.
    """
    offset, excess = _name_offset(merged.entries)
    table = merged.entries.assign(name_offset=offset)[["source", "row", "name", "ra", "dec", "name_offset"]]
    wrong = table[excess > 0]
    return wrong.sort_values(["name_offset", "source", "row"], ascending=[False, True, True], ignore_index=True)


def shared_names(merged: Merged, *, least_length: int = 6) -> pd.DataFrame:
    """Return names that belong to more than one system: positions that disagree, or names that are not unique.

    Returns
    -------
    shared
        ``name``, ``n_systems``, ``system_ids`` and ``separation`` (largest distance between two of them [arcsec]),
        nearest first, since those are likely one system whose lists disagree by more than the radius.
    """
    names = merged.entries[["system_id", "name"]].copy()
    names["name"] = names["name"].map(_aliases)
    names = names.explode("name", ignore_index=True).dropna(subset="name")
    names = names[names["name"].str.len() >= least_length].drop_duplicates()
    counts = names.groupby("name")["system_id"].nunique()
    shared = counts[counts > 1]
    position = merged.systems.set_index("system_id")[["ra", "dec"]]
    rows = []
    for name, ids in names[names["name"].isin(shared.index)].groupby("name")["system_id"]:
        places = position.loc[sorted(ids)]
        ra, dec = places["ra"].to_numpy(), places["dec"].to_numpy()
        first, second = np.triu_indices(len(places), k=1)
        rows.append(
            {
                "name": name,
                "n_systems": len(places),
                "system_ids": "|".join(places.index),
                "separation": float(separation_arcsec(ra[first], dec[first], ra[second], dec[second]).max()),
            }
        )
    table = pd.DataFrame(rows, columns=["name", "n_systems", "system_ids", "separation"])
    return table.sort_values(["separation", "name"], ignore_index=True)
