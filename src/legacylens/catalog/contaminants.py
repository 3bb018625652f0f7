"""What is known to be no lens: rings, spirals, mergers, edge-ons, rejected candidates.

A class comes from a list in which someone looked at the objects and said what they are; a list without a class is
refused. Classes made by cuts in color or shape are not contaminants but galaxies with those colors and shapes, and a
network that learns to reject them has learned the cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from legacylens.catalog.lists import read_columns, read_list
from legacylens.catalog.positions import ListProblem
from legacylens.errors import FileProblem, InputError
from legacylens.files import write_json, write_parquet
from legacylens.provenance import write_provenance
from legacylens.survey.sphere import groups_within, match_within

CLASSES: Mapping[str, tuple[str, ...]] = {
    "ring": ("ring", "rings", "ring galaxy", "ring_galaxy"),
    "spiral": ("spiral", "spirals", "spiral galaxy"),
    "merger": ("merger", "mergers", "merging", "interacting"),
    "edge_on": ("edge_on", "edge-on", "edgeon", "edge on"),
    "rejected": ("rejected", "d", "grade d", "grade-d", "not a lens"),
    "star": ("star", "stars", "spike"),
    "artifact": ("artifact", "artefact", "trail", "cosmic ray", "cosmic_ray"),
}
"""Class -> spellings (in any case). Other words are kept as they are."""

PUBLISHED: Mapping[str, str] = {"ring_galaxies.csv": "ring"}
"""File name in the folder of published lists -> class of all its rows."""

TABLE_NAME = "contaminants.parquet"
"""Name of the table in the output folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contaminants:
    """Contaminants of all lists, one row for each object."""

    objects: pd.DataFrame
    """``object_id``, ``ra``, ``dec`` [deg], ``class`` (several separated by '|'), ``sources``, ``names``,
    ``n_entries``, ``near_lens`` (system_id of a known lens within the radius, or empty), ``lens_separation``
    [arcsec]. Objects near a known lens are in the table but must not be used as contaminants."""
    rows: int
    """Rows of all lists."""
    problems: tuple[ListProblem, ...]
    """Rows left out, and notes."""
    left_out: tuple[FileProblem, ...]
    """Lists that could not be used."""
    radius: float
    """Radius of merging and of the match with known lenses [arcsec]."""

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as a JSON-compatible document."""
        usable = self.objects[self.objects["near_lens"] == ""]
        bad: Counter[str] = Counter()
        for problem in self.problems:
            if problem.left_out:
                bad[problem.reason] += problem.count
        return {
            "rows": self.rows,
            "objects": len(self.objects),
            "near_known_lens": len(self.objects) - len(usable),
            "usable": len(usable),
            "classes": {str(name): int(count) for name, count in usable["class"].value_counts().sort_index().items()},
            "rows_left_out": dict(sorted(bad.items())),
            "remarks": [str(problem) for problem in self.problems],
            "lists_left_out": [
                {"path": problem.path, "reason": problem.reason, "problem": str(problem)} for problem in self.left_out
            ],
        }


def normal_class(text: str) -> str:
    """Return a class in the spelling of `CLASSES`; a word that is none of them is kept, in lower case."""
    word = text.strip().lower()
    return next((name for name, spellings in CLASSES.items() if word in spellings), word)


def read_contaminants(
    path: str | Path, column_map: Mapping[str, str] | None = None, *, label: str | None = None
) -> tuple[pd.DataFrame, int, tuple[ListProblem, ...]]:
    """Read a list of objects that are no lenses.

    Parameters
    ----------
    path
        CSV, TSV, FITS, VOTable, ECSV or Parquet.
    column_map
        Quantity (ra, dec, name, class) -> column or ``column:unit``.
    label
        Class of every row; None: the list has a column of classes.

    Returns
    -------
    entries
        ``source``, ``row``, ``name``, ``ra``, ``dec``, ``class``.
    rows
        Rows of the file.
    problems
        Rows left out, and notes.

    Raises
    ------
    FileProblem
        If the file cannot be used, or says no class and none was given.
    """
    raw = read_columns(path)
    found = read_list(path, column_map, quantities=("name", "class") if label is None else ("name",), raw=raw)
    frame = found.frame.assign(source=Path(path).stem)
    if label is not None:
        frame["class"] = normal_class(label)
    elif "class" in frame:
        frame["class"] = frame["class"].map(normal_class)
    else:
        raise FileProblem(
            path,
            f"says no class of its objects; it has the columns {', '.join(map(str, raw.frame.columns))}",
            "Name the column (--columns class=...) or the class of all rows (--list FILE=ring). "
            "A class is what someone saw, not a cut in color.",
            reason="no-class",
        )
    if "name" not in frame:
        frame["name"] = ""
    problems = list(found.problems)
    unnamed = frame["class"] == ""
    if unnamed.any():
        problems.append(
            ListProblem(
                path=str(path),
                reason="no-class",
                message="no class: fill it in",
                count=int(unnamed.sum()),
                rows=tuple(int(row) for row in frame.loc[unnamed, "row"].head(5)),
                left_out=True,
            )
        )
    columns = ["source", "row", "name", "ra", "dec", "class"]
    return frame.loc[~unnamed, columns].reset_index(drop=True), found.rows, tuple(problems)


def gather_contaminants(
    lists: Sequence[tuple[str | Path, str | None]],
    *,
    published: str | Path | None = None,
    lenses: pd.DataFrame | None = None,
    column_map: Mapping[str, str] | None = None,
    radius: float = 3.0,
) -> Contaminants:
    """Read lists of contaminants, merge them by position, and mark those that are known lenses.

    Parameters
    ----------
    lists
        Files with the class of all their rows, or None if they have a column of classes.
    published
        Folder with the published lists; the lists of `PUBLISHED` in it are read.
    lenses
        Systems of known lenses (``system_id``, ``ra``, ``dec``, ``tier``). An object near one of them is marked,
        except near a system of tier 5, which people have rejected; those systems are added as class ``rejected``.
    column_map
        Column map of the lists.
    radius
        Radius of merging and matching [arcsec].

    Raises
    ------
    InputError
        If there is nothing to read.
    """
    given = [(Path(path), label) for path, label in lists]
    if published is not None:
        given += [
            (Path(published) / name, label) for name, label in PUBLISHED.items() if (Path(published) / name).is_file()
        ]
    frames: list[pd.DataFrame] = []
    problems: list[ListProblem] = []
    left_out: list[FileProblem] = []
    rows = 0
    for path, label in given:
        try:
            frame, in_file, found = read_contaminants(path, None if path.name in PUBLISHED else column_map, label=label)
        except FileProblem as problem:
            left_out.append(problem)
            continue
        frames.append(frame)
        rows += in_file
        problems += found
    if lenses is not None and (lenses["tier"] == 5).any():
        rejected = lenses[lenses["tier"] == 5]
        frames.append(
            pd.DataFrame(
                {
                    "source": "known-lenses",
                    "row": np.arange(1, len(rejected) + 1),
                    "name": rejected["names"].to_numpy(),
                    "ra": rejected["ra"].to_numpy(),
                    "dec": rejected["dec"].to_numpy(),
                    "class": "rejected",
                }
            )
        )
    if not frames:
        raise (
            left_out[0]
            if left_out
            else InputError(
                "no list of contaminants: give --list FILE=CLASS, or --published with a folder that has "
                + ", ".join(PUBLISHED)
            )
        )
    entries = pd.concat(frames, ignore_index=True)
    keys = ["ra", "dec", "source", "class", "name", "row"]
    entries = entries.sort_values(keys, kind="stable", ignore_index=True)
    entries["group"] = groups_within(entries["ra"], entries["dec"], radius)
    grouped = entries.groupby("group", sort=False)
    objects = grouped.agg(ra=("ra", "first"), dec=("dec", "first"), n_entries=("row", "size"))
    for column, source in (("class", "class"), ("sources", "source"), ("names", "name")):
        objects[column] = grouped[source].agg(lambda values: "|".join(sorted({value for value in values if value})))
    objects = objects.reset_index(drop=True)
    objects.insert(
        0, "object_id", [f"C{ra:09.5f}{dec:+09.5f}" for ra, dec in zip(objects["ra"], objects["dec"], strict=True)]
    )
    objects["near_lens"], objects["lens_separation"] = "", np.nan
    if lenses is not None:
        accepted = lenses[lenses["tier"] != 5].reset_index(drop=True)
        here, there, separation = match_within(objects["ra"], objects["dec"], accepted["ra"], accepted["dec"], radius)
        nearest, first = np.unique(here, return_index=True)
        objects.loc[nearest, "near_lens"] = accepted["system_id"].to_numpy()[there[first]]
        objects.loc[nearest, "lens_separation"] = separation[first]
    return Contaminants(
        objects=objects.astype({"near_lens": "str", "class": "str"}),
        rows=rows,
        problems=tuple(problems),
        left_out=tuple(left_out),
        radius=radius,
    )


def write_contaminants(
    contaminants: Contaminants, out: str | Path, *, inputs: Mapping[str, str | Path]
) -> dict[str, Any]:
    """Write the table and the report into a folder; return the report."""
    folder = Path(out)
    report = contaminants.as_dict()
    units = {"ra": "deg", "dec": "deg", "lens_separation": "arcsec"}
    write_parquet(folder / TABLE_NAME, contaminants.objects, units=units)
    write_json(folder / "report.json", report)
    write_provenance(
        folder,
        step="contaminants",
        configuration={"radius": contaminants.radius},
        inputs=inputs,
        results={key: report[key] for key in ("rows", "objects", "usable", "classes")},
    )
    return report
