"""The verb ``train``: labeled cutouts to a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from legacylens.training.run_state import TrainResult


def train(
    sample: Annotated[Path | None, typer.Argument(help="sample.parquet with labels and split, or its folder.")] = None,
    store: Annotated[Path | None, typer.Argument(help="Cutout store.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for best.pt, last.pt and log.csv.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file with the keys of the record TrainConfig.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="Where lenses are from, how they are shown; --recipes lists them."),
    ] = None,
    simulations: Annotated[
        Path | None,
        typer.Option("--simulations", help="Folder of `legacylens mocks inject`, where a recipe needs it."),
    ] = None,
    parent: Annotated[
        Path | None, typer.Option("--parent", help="parent.parquet: describes the hosts of fresh injections.")
    ] = None,
    realism: Annotated[
        Path | None, typer.Option("--realism", help="Report of `legacylens realism gate` on these simulations.")
    ] = None,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Train on simulations without a passing realism report.")
    ] = False,
    mining: Annotated[
        bool, typer.Option("--mining", help="After 40 % of the training, a third of the non-lenses are hard ones.")
    ] = False,
    network: Annotated[str | None, typer.Option(help="Network to train; --networks lists them.")] = None,
    pretrained: Annotated[
        Path | None, typer.Option("--pretrained", help="File of weights to start from; what matched is said.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the non-lenses.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps instead of epochs.")] = None,
    batch: Annotated[int | None, typer.Option(help="Cutouts in a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Budget of time; the learning rate is annealed within it.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order and augmentation.")] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Networks to train, with the seeds SEED, SEED + 1, ..., each in OUT/seed-N.")
    ] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="GPUs (or processes) that share every batch.")] = 1,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write logs for TensorBoard, too.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Discard an earlier run in the folder.")] = False,
    description: Annotated[str, typer.Option(help="What a user of the network should know.")] = "",
    networks: Annotated[bool, typer.Option("--networks", help="List the networks and exit.")] = False,
    recipes: Annotated[bool, typer.Option("--recipes", help="List the recipes and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Train a network on the training split and keep the epoch that is best on the validation split.

    The same seed gives the same weights; an interrupted run goes on exactly where it stopped; the sealed split is not
    read. The recall that is printed chose the epoch and is optimistic: `legacylens validate` gives the honest one.

    \b
    Example:
      legacylens train sample/ cutouts/store --out train/ --epochs 40
      legacylens train sample/ cutouts/store --recipe augmented --mining --out augmented/
      legacylens train sample/ cutouts/store --recipe augmented --seeds 5 --out nets/
      legacylens train --networks --json
    """
    from legacylens.cli.output import show, table

    if networks:
        from legacylens.models.registry import listing

        listed = listing()
        show(
            {"networks": listed},
            as_json,
            lambda: table("Networks", ["name", "parameters", "what it is"], [tuple(row.values()) for row in listed]),
        )
        return
    if recipes:
        from legacylens.training.recipe import NEEDS_SIMULATIONS, WORDS

        known = [{"name": n, "description": w, "needs_simulations": n in NEEDS_SIMULATIONS} for n, w in WORDS.items()]
        show(
            {"recipes": known},
            as_json,
            lambda: table("Recipes", ["name", "what it does", "simulated lenses"], [tuple(r.values()) for r in known]),
        )
        return
    if sample is None or store is None or out is None:
        raise typer.BadParameter(
            "SAMPLE, STORE and --out are needed to train; --networks lists the networks, --recipes the recipes"
        )

    from legacylens.config.load import read_toml, record_from
    from legacylens.training.config import TrainConfig
    from legacylens.training.recipe import NEEDS_SIMULATIONS, merged, recipe_values
    from legacylens.training.recipes import train_recipe, train_seeds
    from legacylens.training.simulated import with_those_of_sample

    options = {
        "network": network,
        "pretrained": None if pretrained is None else str(pretrained),
        "epochs": epochs,
        "steps": steps,
        "batch": batch,
        "learning_rate": learning_rate,
        "max_minutes": minutes,
        "precision": precision,
        "seed": seed,
    }
    injected = {"store": simulations, "parent": parent, "realism": realism}
    chosen: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    chosen["simulations"] = {name: str(value) for name, value in injected.items() if value is not None}
    if unchecked:
        chosen["simulations"]["unchecked"] = True
    if tensorboard:
        chosen["tensorboard"] = True
    if mining:
        chosen["mining"] = {"share": 1 / 3}
    given = read_toml(config) if config else {}
    name = recipe or given.get("recipe")
    if not given.get("simulations"):
        chosen["simulations"] = with_those_of_sample(chosen["simulations"], sample, needed=name in NEEDS_SIMULATIONS)
    values = merged(merged(recipe_values(str(name), network or given.get("network")) if name else {}, given), chosen)
    settings = record_from(TrainConfig, values, config or "options of legacylens train")
    if seeds == 1:
        result = train_recipe(
            store, sample, settings, out, restart=restart, device=device, devices=devices, description=description
        )
        show(result.summary(), as_json, lambda: _lines(result))
        return
    results = train_seeds(
        store,
        sample,
        settings,
        out,
        range(settings.seed, settings.seed + seeds),
        restart=restart,
        device=device,
        devices=devices,
        description=description,
    )
    rows = [(one.best.parent.name, f"{one.recall:.3f}", one.best_epoch, f"{one.minutes:.1f}") for one in results]
    show(
        {"runs": [one.summary() for one in results]},
        as_json,
        lambda: [
            *_lines(results[0])[:-2],
            table(
                f"Recall at {settings.selection_fpr:g} on the validation split, which chose the epochs",
                ["network", "recall", "best epoch", "minutes"],
                rows,
            ),
            f"{out}",
        ],
    )


def _lines(result: TrainResult) -> list[object]:
    """Return what a reader wants to know of a run."""
    from legacylens.cli.output import table

    left_out = sum(result.left_out.values())
    return [
        table("Objects", ["split and class", "used"], list(result.counts.items())),
        *([f"{left_out} objects of the sample have no cutout: {result.left_out}"] if left_out else []),
        *([f"start: {result.pretrained}"] if result.pretrained else []),
        *(
            [
                table(
                    "Clipped pixels, mean fraction",
                    list(result.clipped[0]),
                    [tuple(row.values()) for row in result.clipped],
                )
            ]
            if result.clipped
            else []
        ),
        *[", ".join(f"{name} {value}" for name, value in phase.items()) for phase in result.phases],
        f"{result.network}: {result.epochs} epochs in {result.minutes:.1f} min "
        f"({result.images_per_second:.0f} cutouts/s), ended by {result.stopped}; "
        f"best is epoch {result.best_epoch} with a recall of {result.recall:.2f} at a false-positive rate of "
        f"{result.selection_fpr:g} on the validation split, which chose it",
        f"{result.best}",
    ]
