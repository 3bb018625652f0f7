"""The verbs ``samples``: labels and splits, and the gates that a sample must pass before a network learns from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

    from legacylens.samples.config import SampleConfig


def samples(
    parent: Annotated[Path, typer.Argument(help="parent.parquet, or its folder.")],
    known: Annotated[Path, typer.Argument(help="systems.parquet of the known lenses, or its folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for sample.parquet and sample.json.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file with the keys of the record SampleConfig.")
    ] = None,
    nside: Annotated[int | None, typer.Option(help="Resolution of the HEALPix cells that are split.")] = None,
    split_seed: Annotated[int | None, typer.Option(help="Seed of the split.")] = None,
    worst_tier: Annotated[int | None, typer.Option(help="Known systems up to this tier count as lenses.")] = None,
    negatives: Annotated[
        float | None, typer.Option(help="Non-lenses for each lens in training; all if there are fewer.")
    ] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(help="List or discovery channel whose lenses are kept out of train and validation; repeatable."),
    ] = None,
    contaminants: Annotated[
        Path | None, typer.Option(help="contaminants.parquet, or its folder: the pool of hard non-lenses.")
    ] = None,
    verdicts: Annotated[
        list[Path] | None,
        typer.Option(help="Table of `samples suspicious` with its verdicts filled in; repeatable."),
    ] = None,
    simulations: Annotated[
        Path | None,
        typer.Option(help="Set of `mocks inject`: simulated lenses for the training split. Needs --realism."),
    ] = None,
    realism: Annotated[
        Path | None,
        typer.Option(help="gate.json of `realism gate` on exactly these simulations, saying pass."),
    ] = None,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Take the simulations without a passing report; it is recorded.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Label parent objects and split them by sky cell, with a guard ring between the splits.

    Every known system, whatever its grade, keeps non-lenses away; only secure and likely ones are lenses. The split of
    an object follows from its position and the seed alone. The summary carries a hash by which a network remembers
    what it was trained on. Non-lenses are drawn from two pools: representative ones, and hard ones that people have
    seen to be no lens. Simulated lenses are taken with a passing report of `realism gate` on exactly that set, or with
    --unchecked; only those in non-lenses of the training split.

    \b
    Example:
      legacylens samples build parent/ known-lenses/ --out sample/
      legacylens samples build parent/ known-lenses/ --contaminants contaminants/ --out sample/
      legacylens samples build parent/ known-lenses/ --verdicts queue/suspicious.csv --out second/
      legacylens samples build parent/ known-lenses/ --simulations mocks/new --realism gate/gate.json --out sample/
    """
    from legacylens.cli.output import show, table
    from legacylens.samples.build import make_sample

    options = {
        "nside": nside,
        "split_seed": split_seed,
        "worst_tier": worst_tier,
        "negatives_per_positive": negatives,
        "leave_out": tuple(leave_out) if leave_out else None,
    }
    settings = _settings(config, options, "build")
    summary = make_sample(
        parent,
        known,
        out,
        settings,
        contaminants_path=contaminants,
        verdict_paths=verdicts or (),
        simulations=simulations,
        realism=realism,
        unchecked=unchecked,
    )

    def render() -> list[object]:
        return [
            table(
                f"Sample {summary['hash'][:12]} of {summary['objects']:,} objects, {summary['known_systems']:,} known",
                ["split", "lenses", "non-lenses", "unused"],
                [(name, row["lenses"], row["non_lenses"], row["unused"]) for name, row in summary["counts"].items()],
            ),
            table("Why", ["reason", "objects"], list(summary["reasons"].items())),
            table(
                "Pools of non-lenses",
                ["split", "representative (N1)", "hard (N2)", "classes of contaminants"],
                [
                    (
                        split,
                        pools.get("representative", 0),
                        pools.get("hard", 0),
                        ", ".join(f"{name} {count}" for name, count in summary["contaminants"][split].items()) or None,
                    )
                    for split, pools in summary["pools"].items()
                ],
            ),
            *_simulated(summary.get("simulations")),
        ]

    show(summary, as_json, render)


def _simulated(record: dict[str, Any] | None) -> list[object]:
    """Return what is said of the simulated lenses of a sample."""
    if record is None:
        return []
    said = f"{record['lenses']:,} simulated lenses of {record['simulations']}, verdict of the gate: {record['verdict']}"
    if record["override"]:
        said += " - taken all the same (--unchecked), which is recorded"
    return [said, *(f"{count:,} left out: {reason}" for reason, count in record["left_out"].items())]


def _settings(config: Path | None, options: dict[str, Any], verb: str) -> SampleConfig:
    """Return the configuration of a file and the options of the command line, which win."""
    from legacylens.config.load import read_toml, record_from
    from legacylens.samples.config import SampleConfig

    values = {**(read_toml(config) if config else {}), **{k: v for k, v in options.items() if v is not None}}
    return record_from(SampleConfig, values, config or f"options of legacylens samples {verb}")


def suspicious(
    sample: Annotated[Path, typer.Argument(help="sample.parquet, or its folder.")],
    scores: Annotated[Path, typer.Argument(help="scores.parquet of a first model, or its folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for suspicious.csv and the sheets.")],
    store: Annotated[Path | None, typer.Option(help="Cutout store: sheets of pictures are made.")] = None,
    verdicts: Annotated[
        list[Path] | None, typer.Option(help="Tables with earlier verdicts: those are not shown again; repeatable.")
    ] = None,
    lenses: Annotated[bool, typer.Option("--lenses", help="Queue the lenses with the lowest scores instead.")] = False,
    above: Annotated[float | None, typer.Option(help="Lowest score that is shown (of lenses: highest).")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most objects.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Queue the non-lenses that a first model takes for lenses, for somebody to look at.

    The numbers on the sheets are the rows of suspicious.csv. Fill in its column verdict (lens, maybe, no; empty is
    not looked at) and give the table to `samples build --verdicts`: lens and maybe leave the non-lenses, no becomes a
    hard one. With --lenses: a known lens that nobody can see in the image (no) leaves the lenses. The sealed cells are
    not shown.

    \b
    Example:
      legacylens samples suspicious sample/ scores/ --store cutouts/ --limit 100 --out queue/
    """
    from legacylens.cli.output import show, table
    from legacylens.samples.suspicious import make_queue

    queue, summary = make_queue(
        sample, scores, out, verdict_paths=verdicts or (), above=above, limit=limit, lenses=lenses
    )
    summary["sheets"], summary["without_cutout"] = _sheets(queue, store, out) if store is not None else ([], 0)

    def render() -> list[object]:
        score = "score" if "score" in queue else "logit"
        rows = [
            (
                int(row["number"]),
                str(row["source_id"]),
                float(row[score]),
                row["split"],
                row["type"],
                float(row["ra"]),
                float(row["dec"]),
            )
            for _, row in queue.head(10).iterrows()
        ]
        return [
            table("Most suspicious", ["number", "source_id", score, "split", "type", "ra", "dec"], rows),
            table("Counts", ["", "objects"], [(k, v) for k, v in summary.items() if isinstance(v, int)]),
            f"Fill in the column verdict of {summary['queue']}, then: legacylens samples build ... --verdicts "
            f"{summary['queue']}",
            *summary["sheets"],
        ]

    show(summary, as_json, render)


def _sheets(queue: pd.DataFrame, store: Path, out: Path) -> tuple[list[str], int]:
    """Write pages of pictures with the numbers of the queue; return their paths and how many have no cutout."""
    from legacylens.cutouts.store import CutoutStore
    from legacylens.plots.sheets import contact_sheet

    per_page, pages = 60, []
    with CutoutStore.open(store) as opened:
        shown = queue[[name in opened for name in queue["source_id"]]]
        for start in range(0, len(shown), per_page):
            part = shown.iloc[start : start + per_page]
            cutouts = [opened.cutout(int(row)) for row in opened.index_of(part["source_id"])]
            captions = [f"{number}\n{name}" for number, name in zip(part["number"], part["source_id"], strict=True)]
            path = out / f"sheet-{start // per_page + 1:02d}.png"
            pages.append(str(contact_sheet(cutouts, captions, path, columns=10)))
    return pages, len(queue) - len(shown)


def leave_one_out(
    parent: Annotated[Path, typer.Argument(help="parent.parquet, or its folder.")],
    known: Annotated[Path, typer.Argument(help="systems.parquet of the known lenses, or its folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder; each sample has a folder of its own in it.")],
    by: Annotated[str, typer.Option(help="list or channel.")] = "list",
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file with the keys of the record SampleConfig.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Make a sample for each list, or each discovery channel, of whose lenses training sees nothing.

    The lenses that are left out are marked held_out; those in the sealed cells tell what a finder finds that never saw
    their like. Train, scan and validate with each of the samples.

    \b
    Example:
      legacylens samples leave-one-out parent/ known-lenses/ --by channel --out without/
    """
    from legacylens.cli.output import show, table
    from legacylens.errors import InputError
    from legacylens.samples.leave_one_out import leave_one_out as make

    if by not in ("list", "channel"):
        raise InputError(f"--by {by}: choose list or channel")
    result = make(parent, known, out, _settings(config, {}, "leave-one-out"), by="list" if by == "list" else "channel")

    def render() -> list[object]:
        names = [
            "left_out",
            "train",
            "validation",
            "held_out_train",
            "held_out_validation",
            "held_out_sealed",
            "folder",
        ]
        rows = [[row[name] for name in names] for row in result["samples"]]
        parts: list[object] = [table(f"Lenses, without one {by}", [name.replace("_", " ") for name in names], rows)]
        if result["skipped"]:
            parts.append(table("Not made", [by, "why"], list(result["skipped"].items())))
        return parts

    show(result, as_json, render)


def gates(
    sample: Annotated[Path, typer.Argument(help="sample.parquet, or its folder.")],
    parent: Annotated[Path, typer.Argument(help="parent.parquet, or its folder.")],
    store: Annotated[
        Path | None, typer.Option(help="Cutout store: its noise, holes and centering are tested too.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which split; a network learns from train.")] = "train",
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a gate fails.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Test that the label cannot be told from what has nothing to do with lensing.

    Position, depth, seeing, exposures, extinction, release, coordinates and cutouts must say nothing about the label;
    magnitude, type and size no more than physics allows. Missing values must be alike, and nothing may be listed twice.

    \b
    Example:
      legacylens samples gates sample/ parent/ --store cutouts/
    """
    from legacylens.cli.output import show
    from legacylens.validation.leakage import gate_files

    result = gate_files(sample, parent, store=store, split=split)
    show(result, as_json, lambda: _gate_tables(result))
    if strict and result["verdict"] == "fail":
        raise typer.Exit(1)


def _gate_tables(result: dict[str, Any]) -> list[object]:
    from legacylens.cli.output import table

    rows = [
        (row["gate"], row["verdict"], row["value"], row["low"], row["high"], row["limit"], row["detail"])
        for row in result["gates"]
    ]
    title = f"{result['split']} split, {result['n_lenses']:,} lenses and {result['n_non_lenses']:,} non-lenses"
    parts: list[object] = [
        table(
            f"Gates on the {title}: {result['verdict']}", ["gate", "verdict", "AUC", "low", "high", "limit", "of"], rows
        )
    ]
    if result["baseline"] is not None:
        parts.append(f"Everything but the pixels together reaches an AUC of {result['baseline']['value']:.3f}.")
    return parts


def controls(
    seeds: Annotated[int, typer.Option(min=1, help="Samples for each planted leak.")] = 1,
    honest: Annotated[int, typer.Option(min=1, help="Samples that are left alone.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Show that the gates can fail: plant known leaks in honest simulated samples, and leave some alone.

    \b
    Example:
      legacylens samples controls --json
    """
    from legacylens.cli.output import show, table
    from legacylens.validation.leaks import run_controls

    rows = run_controls(seeds=range(1, seeds + 1), honest_seeds=range(1, honest + 1))
    result = {"controls": rows, "as_expected": all(row["seeds_as_expected"] == row["seeds"] for row in rows)}

    def render() -> object:
        names = ["control", "gate", "must", "verdict", "value", "low", "seeds_as_expected", "seeds"]
        return table("Planted leaks", [name.replace("_", " ") for name in names], [[r[n] for n in names] for r in rows])

    show(result, as_json, render)
    if not result["as_expected"]:
        raise typer.Exit(1)
