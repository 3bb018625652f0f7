"""One sample for each list, or each discovery channel, of which training sees nothing.

A finder that is trained and tested on lenses of one search is tested on what that search finds. If one list (or
everything that imaging networks found) is kept out of training, its lenses in the sealed cells say what is found that
never was seen: they are marked ``held_out`` in each sample.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from legacylens.errors import InputError
from legacylens.files import read_parquet, write_json
from legacylens.samples.build import make_sample
from legacylens.samples.config import SampleConfig
from legacylens.samples.labels import list_names


def leave_one_out(
    parent_path: str | Path,
    systems_path: str | Path,
    out: str | Path,
    config: SampleConfig,
    *,
    by: Literal["list", "channel"] = "list",
    contaminants_path: str | Path | None = None,
    verdict_paths: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Write a sample for each list or channel, without its lenses in training and validation.

    Parameters
    ----------
    parent_path, systems_path, contaminants_path, verdict_paths
        As for `make_sample`.
    out
        Each sample goes into a folder of it, named after what is left out; ``leave-one-out.json`` has the counts.
    config
        What the samples are made of; the split is the same in all of them.
    by
        Leave out lists (what only that list knows) or discovery channels.

    Returns
    -------
    summary
        ``by``, ``samples`` (a row each: ``left_out``, ``folder``, ``train`` and ``validation`` lenses that remain,
        ``held_out_train``, ``held_out_validation``, ``held_out_sealed``) and ``skipped`` (name -> why).

    Raises
    ------
    InputError
        If there is nothing to leave out, or no sample remains.
    """
    path = Path(systems_path)
    systems: pd.DataFrame = read_parquet(path / "systems.parquet" if path.is_dir() else path)
    lists, channels = list_names(systems)
    names = sorted(lists if by == "list" else channels)
    if len(names) < 2:
        raise InputError(f"the known systems have {len(names)} {by}s; to leave one out takes two")
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    for name in names:
        folder = Path(out) / (re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "unnamed")
        changed = config.model_copy(update={"leave_out": (*config.leave_out, name)})
        try:
            summary = make_sample(
                parent_path,
                systems_path,
                folder,
                changed,
                contaminants_path=contaminants_path,
                verdict_paths=verdict_paths,
            )
        except InputError as error:  # too little remains to learn from: the others go on
            skipped[name] = str(error)
            continue
        rows.append(
            {
                "left_out": name,
                "folder": str(folder),
                **{split: summary["counts"][split]["lenses"] for split in ("train", "validation")},
                **{f"held_out_{split}": count for split, count in summary["held_out"].items()},
                "hash": summary["hash"],
            }
        )
    if not rows:
        raise InputError("no sample remains: " + "; ".join(f"without {name}: {why}" for name, why in skipped.items()))
    result = {"by": by, "samples": rows, "skipped": skipped}
    write_json(Path(out) / "leave-one-out.json", result)
    return result
