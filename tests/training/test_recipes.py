"""The recipes: each trains on the same sample, uses only what it may, and refuses with a remedy."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from legacylens.cutouts.store import CutoutStore
from legacylens.errors import FileProblem, InputError, ProcessError
from legacylens.files import held
from legacylens.models.checkpoint import load_checkpoint, load_training_state
from legacylens.models.registry import NETWORKS
from legacylens.samples.build import read_sample
from legacylens.training import loop, self_training
from legacylens.training.alignment import Aligner, mmd_squared, reverse_gradient
from legacylens.training.config import Alignment, Mining, SelfTraining, TrainConfig
from legacylens.training.data import open_training_data
from legacylens.training.loop import train
from legacylens.training.metrics import standard_error
from legacylens.training.mining import mine
from legacylens.training.recipe import NEEDS_SIMULATIONS, RECIPES, WORDS, merged, recipe_values
from legacylens.training.recipes import train_recipe
from legacylens.training.sampling import (
    LEAST_VALIDATIONS,
    MOST_VALIDATIONS,
    epoch_batches,
    natural_batches,
    steps_per_epoch,
)
from legacylens.training.self_training import Harvest, contaminants_limit, harvest
from legacylens.training.simulated import simulations_hash
from legacylens.training.subset import used_objects
from legacylens.training.team import Team


def same(first: Path, second: Path) -> bool:
    a, b = load_checkpoint(first).state, load_checkpoint(second).state
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def recipe_config(blob_config, simulations):
    """A recipe at the size of the blobs."""

    def make(name: str, **changes: object) -> TrainConfig:
        small = blob_config().model_dump(include={"preprocessing", "batch", "min_positives", "precision"})
        values = merged(recipe_values(name), {**small, "epochs": 2, "network": "compact", **changes})
        if name in NEEDS_SIMULATIONS:
            # blobs are no survey stamps: `test_fresh` covers hosts that are exchanged
            simulated = {"store": str(simulations), "unchecked": True, "fresh_hosts": False}
            values = merged(values, {"simulations": simulated})
        return TrainConfig.model_validate(values)

    return make


def test_every_recipe_has_a_word() -> None:
    assert RECIPES.keys() == WORDS.keys()
    assert set(NEEDS_SIMULATIONS) <= RECIPES.keys()
    with pytest.raises(InputError, match="no recipe is called 'magic'; choose one of real, augmented"):
        recipe_values("magic")


def test_published_recipe_has_the_published_numbers() -> None:
    config = TrainConfig.model_validate(recipe_values("paper-iv"))
    assert (config.batch, config.learning_rate, config.epochs, config.resplit) == (2048, 5e-4, 160, 0.7)
    assert NETWORKS[config.network].parameters == 194_433
    assert config.halve_after * config.epochs == 80
    other = TrainConfig.model_validate(
        {**recipe_values("paper-iv", "efficientnet-published"), "network": "efficientnet-published"}
    )
    assert (other.batch, other.learning_rate, other.halve_after * other.epochs) == (512, 3.88e-4, 130)


@pytest.mark.parametrize("name", ["real", "augmented", "simulated", "adversarial", "mmd", "hybrid", "paper-iv"])
def test_recipe_trains_and_repeats_itself(blobs, recipe_config, tmp_path: Path, name: str) -> None:
    config = recipe_config(name)
    first = train_recipe(*blobs, config, tmp_path / "a")
    assert first.recipe == name
    assert first.counts["train lenses"] == {"paper-iv": 14}.get(name, 16)  # 0.7 of the 20 that are not sealed
    if name in NEEDS_SIMULATIONS:
        assert first.counts["simulated lenses"] == 80  # the other 40 stand in validation and sealed galaxies
        assert load_checkpoint(first.best).metrics["simulations"] == "no realism report (unchecked was set)"
    if name in ("adversarial", "mmd"):
        second = train_recipe(*blobs, config, tmp_path / "b")
        assert same(first.last, second.last)


def test_adversarial_run_resumes_exactly(blobs, recipe_config, tmp_path: Path, monkeypatch) -> None:
    config = recipe_config("adversarial", mining={"share": 0.3, "start": 0.2}, accumulate=2)
    whole = train_recipe(*blobs, config, tmp_path / "whole")
    step, calls = loop._Run._step, 0

    def interrupted(self, *args):
        nonlocal calls
        calls += 1
        if calls == 9:  # in the second epoch, after mining
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(loop._Run, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_recipe(*blobs, config, tmp_path / "part")
    monkeypatch.setattr(loop._Run, "_step", step)
    resumed = train_recipe(*blobs, config, tmp_path / "part")
    assert same(whole.best, resumed.best)
    first, second = (load_training_state(result.last)[1] for result in (whole, resumed))
    assert first["aligner"].keys() == second["aligner"].keys() != set()
    assert all(torch.equal(first["aligner"][name], second["aligner"][name]) for name in first["aligner"])
    assert first["hard"] == second["hard"] != []


def test_pretraining_splits_the_budget_and_starts_the_second_training(blobs, recipe_config, tmp_path: Path) -> None:
    result = train_recipe(*blobs, recipe_config("pretrain-finetune", steps=8), tmp_path)
    assert load_training_state(tmp_path / "pretraining" / "last.pt")[1]["step"] == 4
    assert load_training_state(tmp_path / "last.pt")[1]["step"] == 4
    assert "100.0 % of the parameters" in result.pretrained
    assert result.phases[0]["phase"] == "pretraining"


def test_steps_are_the_budget_whatever_the_epochs(blobs, blob_config, tmp_path: Path) -> None:
    result = train(*blobs, blob_config(steps=13, epochs=1000), tmp_path)
    assert load_training_state(result.last)[1]["step"] == 13
    assert result.stopped == "epochs"
    log = pd.read_csv(tmp_path / "log.csv")
    assert LEAST_VALIDATIONS <= len(log) <= MOST_VALIDATIONS


def test_accumulated_batch_has_the_gradient_of_a_whole_one(blobs, blob_config, tmp_path: Path, monkeypatch) -> None:
    # without batch statistics the parts of a batch do not see one another, so only rounding may differ
    monkeypatch.setattr(torch.nn.BatchNorm3d, "forward", lambda self, x: x)
    losses = [
        pd.read_csv(train(*blobs, blob_config(epochs=1, accumulate=n), tmp_path / f"{n}").best.parent / "log.csv")
        for n in (1, 4)
    ]
    assert losses[0]["loss"].iloc[0] == pytest.approx(losses[1]["loss"].iloc[0], rel=1e-4)


def test_parts_of_a_sample_are_nested(blobs) -> None:
    frame = read_sample(blobs[1]).frame
    parts = {n: used_objects(frame, TrainConfig(positives=n, negative_ratio=2.0)) for n in (5, 8, 16)}
    lenses = {n: set(rows[(rows["label"] == 1) & (rows["split"] == "train")]["source_id"]) for n, rows in parts.items()}
    assert lenses[5] < lenses[8] < lenses[16]
    for n, rows in parts.items():
        train_rows = rows[rows["split"] == "train"]
        assert (train_rows["label"] == 0).sum() == 2 * n
        assert (rows["split"] == "validation").sum() == 24  # never thinned
    with pytest.raises(InputError, match=r"17 training lenses are asked for, but the training split has 16"):
        used_objects(frame, TrainConfig(positives=17))


def test_resplit_keeps_off_the_sealed_split(blobs) -> None:
    frame = read_sample(blobs[1]).frame
    rows = used_objects(frame, TrainConfig(resplit=0.7))
    sealed = set(frame.loc[frame["split"] == "sealed", "source_id"])
    assert not sealed & set(rows["source_id"])
    train_rows = rows[rows["split"] == "train"]
    assert ((train_rows["label"] == 1).sum(), (train_rows["label"] == 0).sum()) == (14, 70)


def test_extra_lenses_must_be_in_the_training_split(blobs, tmp_path: Path) -> None:
    frame = read_sample(blobs[1]).frame
    others = frame[frame["label"] == 0]
    inside, outside = (others.loc[others["split"] == split, "source_id"].iloc[:3] for split in ("train", "sealed"))
    path = tmp_path / "extra.parquet"
    pd.DataFrame({"source_id": inside}).to_parquet(path)
    rows = used_objects(frame, TrainConfig(extra_lenses=str(path)))
    assert set(inside) <= set(rows.loc[rows["label"] == 1, "source_id"])
    assert not rows["source_id"].duplicated().any()
    pd.DataFrame({"source_id": pd.concat([inside, outside])}).to_parquet(path)
    with pytest.raises(InputError, match=r"3 of the 6 lenses in .* are not in the training split"):
        used_objects(frame, TrainConfig(extra_lenses=str(path)))
    pd.DataFrame({"name": inside}).to_parquet(path)
    with pytest.raises(FileProblem, match="no column source_id"):
        used_objects(frame, TrainConfig(extra_lenses=str(path)))


# --- refusals


def test_recipes_without_simulations_say_how_to_make_them(recipe_config) -> None:
    for name in NEEDS_SIMULATIONS:
        with pytest.raises(ValidationError, match="legacylens mocks inject"):
            TrainConfig.model_validate(recipe_values(name))
    with pytest.raises(ValidationError, match=r"real and simulated lenses"):
        recipe_config("mmd", simulations={"share": 1.0})
    with pytest.raises(ValidationError, match=r"needs simulations\.parent"):
        TrainConfig(simulations={"store": "x", "fresh_hosts": True})
    with pytest.raises(ValidationError, match="not a multiple of accumulate"):
        TrainConfig(batch=64, accumulate=5)
    with pytest.raises(ValidationError, match=r"natural sampling has no place"):
        TrainConfig(sampling="natural", simulations={"store": "x"})


def test_simulations_need_a_passing_report_on_exactly_them(blobs, recipe_config, simulations, tmp_path: Path) -> None:
    def config(**values: object) -> TrainConfig:
        return recipe_config("simulated", simulations={"unchecked": False, **values})

    def with_report(report: object, **values: object) -> TrainConfig:
        path = tmp_path / "report.json"
        path.write_text(json.dumps(report))
        made = config()
        return made.model_copy(
            update={"simulations": made.simulations.model_copy(update={"realism": str(path), **values})}
        )

    own, strict = simulations_hash(simulations), {"unchecked": False}
    silent = with_report({}, realism=None, **strict)
    with pytest.raises(InputError, match=r"no realism report speaks for .*--unchecked"):
        open_training_data(*blobs, silent)
    with pytest.raises(FileProblem, match="not a realism report"):
        open_training_data(*blobs, with_report({"verdict": "pass"}, **strict))
    with pytest.raises(FileProblem, match="a report on another set"):
        open_training_data(*blobs, with_report({"verdict": "pass", "simulations_hash": "x"}, **strict))
    with pytest.raises(InputError, match="says 'fail'"):
        open_training_data(*blobs, with_report({"verdict": "fail", "simulations_hash": own}, **strict))
    missing = with_report({}, realism=str(tmp_path / "none.json"), **strict)
    with pytest.raises(FileProblem, match="no such realism report"):
        open_training_data(*blobs, missing)
    passing = with_report({"verdict": "pass", "simulations_hash": own}, **strict)
    assert len(open_training_data(*blobs, passing).simulated) == 80


def test_simulations_in_sealed_galaxies_are_not_trained_on(blobs, recipe_config, simulations, tmp_path: Path) -> None:
    data = open_training_data(*blobs, recipe_config("simulated"))
    frame = read_sample(blobs[1]).frame.set_index("source_id")
    hosts = [name.removesuffix("_lens1") for name in data.simulated.names(np.arange(len(data.simulated)))]
    assert set(frame.loc[hosts, "split"]) == {"train"}
    folder = tmp_path / "few"
    folder.mkdir()
    for path in simulations.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(simulations)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    truth = pd.read_parquet(folder / "truth.parquet")
    truth["host_source_id"] = "elsewhere"
    truth.to_parquet(folder / "truth.parquet")
    config = recipe_config("simulated")
    elsewhere = config.model_copy(update={"simulations": config.simulations.model_copy(update={"store": str(folder)})})
    with pytest.raises(InputError, match=r"0 of the 120 simulated lenses .*at least 10 are needed.*--exclude"):
        open_training_data(
            *blobs,
            elsewhere,
        )


def test_the_host_of_a_simulated_lens_is_shown_without_the_arc_in_the_same_batch(blobs, recipe_config) -> None:
    config = recipe_config("hybrid", batch=24, positive_share=0.5, simulations={"twins": 0.5})
    data = open_training_data(*blobs, config)
    n_real, n_mocks = len(data.train), len(data.simulated)
    assert (config.simulated_per_batch, config.twins_per_batch) == (6, 3)
    order = epoch_batches(
        data.train.labels,
        batch=24,
        lenses_per_batch=12,
        rng=np.random.default_rng(1),
        steps=4,
        simulated=n_real + np.arange(n_mocks),
        simulated_per_batch=6,
        twins_per_batch=3,
    )
    store, truth = CutoutStore.open(blobs[0]), data.simulated
    for rows, images in zip(order, data.batches(order, lambda group: np.random.default_rng(group)), strict=True):
        labels = data.labels(rows)
        assert (len(rows), labels.sum()) == (24, 12)
        mocks, twins = rows[(rows >= n_real) & (labels == 1)], rows[rows >= n_real + n_mocks]
        assert set(twins - n_mocks) <= set(mocks)
        assert (labels[rows >= n_real + n_mocks] == 0).all()
        assert len(twins) == 3
        names = data.names(twins)
        for row, name in zip(twins, names, strict=True):
            host = name.removeprefix("the host of ").removesuffix("_lens1")
            shown = images[rows == row][0]
            np.testing.assert_array_equal(shown, store.images(store.index_of([host]))[0])
        for row in mocks:
            picture = truth.pairs(np.array([row - n_real]), np.random.default_rng(0))[0][0]
            np.testing.assert_array_equal(images[rows == row][0], picture)


def test_broken_loss_keeps_the_last_good_checkpoint(blobs, recipe_config, tmp_path: Path, monkeypatch) -> None:
    config = recipe_config("hybrid")
    make, calls = loop.prepared, 0

    def poisoned(order, pictures, *rest):
        def with_a_hole():
            nonlocal calls
            for pixels in pictures:
                calls += 1
                if calls == 9:
                    pixels = pixels.copy()
                    pixels[0] = np.nan
                yield pixels

        return make(order, with_a_hole(), *rest)

    monkeypatch.setattr(loop, "prepared", poisoned)
    with pytest.raises(
        ProcessError, match=r"epoch 2, batch \d+ .*1 of its cutouts have pixels.*Kept: last.pt of epoch 1"
    ):
        train_recipe(*blobs, config, tmp_path)
    assert load_checkpoint(tmp_path / "last.pt").metrics["epoch"] == 1


# --- parts


def test_gradient_is_reversed() -> None:
    x = torch.ones(3, requires_grad=True)
    (reverse_gradient(x, 0.5) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert torch.equal(x.grad, torch.tensor([-0.5, -1.0, -1.5]))


def test_mmd_is_zero_for_one_population_and_not_for_two() -> None:
    generator = torch.Generator().manual_seed(1)
    draws = [
        mmd_squared(torch.randn(40, 5, generator=generator), torch.randn(40, 5, generator=generator)).item()
        for _ in range(200)
    ]
    # unbiased: the mean of 200 estimates is zero within four standard errors
    assert abs(np.mean(draws)) < 4 * np.std(draws) / np.sqrt(200)
    shifted = mmd_squared(torch.randn(40, 5, generator=generator), torch.randn(40, 5, generator=generator) + 1.0)
    assert shifted.item() > 5 * np.std(draws)


@pytest.mark.parametrize("kind", ["adversarial", "mmd"])
def test_alignment_brings_two_populations_together(kind: str) -> None:
    torch.manual_seed(0)
    shift = torch.zeros(4, requires_grad=True)
    aligner = Aligner(Alignment(kind=kind, weight=1.0), 4)
    optimizer = torch.optim.Adam([{"params": [shift], "lr": 0.02}, {"params": aligner.parameters(), "lr": 0.01}])
    for _ in range(300):
        real, simulated = torch.randn(64, 4), torch.randn(64, 4) + torch.tensor([1.5, 0.0, 0.0, 0.0]) + shift
        optimizer.zero_grad()
        aligner(real, simulated, 1.0).backward()
        optimizer.step()
    assert abs(1.5 + shift[0].item()) < 0.75  # at least half of the way; an adversary circles around the answer
    assert aligner(real[:1], simulated, 1.0).item() == 0.0  # one lens has no distribution


def test_mining_leaves_the_suspicious_for_a_person() -> None:
    labels = np.array([1, 1, 1, 1] + [0] * 20)
    scores = np.concatenate([[3.0, 4.0, 5.0, 6.0], np.arange(20) / 10.0])
    scores[-1] = 9.0  # more lens-like than any lens
    found = mine(scores, labels, Mining(share=0.3, pool=0.1))
    assert found.suspicious.tolist() == [23]
    assert found.rows.tolist() == [22, 21]


def test_natural_batches_make_room_for_hard_non_lenses() -> None:
    labels = np.r_[np.ones(10), np.zeros(90)]
    hard = [95, 96, 97]
    batches = natural_batches(labels, batch=20, rng=np.random.default_rng(1), steps=10, hard=hard, hard_per_batch=6)
    shown = np.bincount(np.concatenate(batches), minlength=100)
    assert (shown[:10] == 2).all()  # 200 places for 100 objects: lenses keep theirs
    assert (shown[hard] >= 20).all()  # 60 more places for three of them
    assert shown.sum() == 200


@pytest.mark.parametrize("name", ["real", "paper-iv", "self-training"])
def test_every_kind_of_recipe_can_mine(blobs, recipe_config, tmp_path: Path, name: str) -> None:
    limits = {"positives": 8, "negative_ratio": 6.0, "epochs": 6} if name == "self-training" else {}
    result = train_recipe(*blobs, recipe_config(name, mining={"share": 1 / 3, "start": 0.3}, **limits), tmp_path)
    tables = list(tmp_path.rglob("hard-negatives.parquet"))
    assert tables
    assert load_checkpoint(result.best).configuration["mining"]["share"] == pytest.approx(1 / 3)


def test_mining_that_would_never_come_is_refused(blobs, recipe_config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mining.start = 0.6 is never reached: .*Give more epochs"):
        train_recipe(*blobs, recipe_config("real", mining={"share": 0.3, "start": 0.6}), tmp_path)
    # a budget of steps always has a time for it, however long an epoch would be
    labels = np.r_[np.ones(100), np.zeros(100_000)]
    assert steps_per_epoch(labels, TrainConfig(steps=500)) == 50
    assert steps_per_epoch(labels, TrainConfig()) == -(-100_000 // 48)


def test_limit_of_contaminants() -> None:
    # of very many unlabeled objects: the rate of Garwood; 3.0 / n for no event, 6.296 / n for two (95 %, one-sided)
    assert contaminants_limit(np.array([0]), 1000, 10**6)[0] == pytest.approx(2997, rel=1e-3)
    assert contaminants_limit(np.array([2]), 100, 10**6)[0] == pytest.approx(62960, rel=1e-3)
    assert contaminants_limit(np.array([5]), 5, 70)[0] == 70
    # of few: whole objects, and their own scatter
    assert contaminants_limit(np.array([0]), 1000, 100)[0] == 1


def test_harvest_bounds_the_contamination_it_has() -> None:
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(200):
        lenses, others, planted = rng.normal(4.0, 1.0, 60), rng.normal(0.0, 1.0, 940), rng.normal(0.0, 1.0, 2000)
        taken = harvest(np.concatenate([lenses, others]), planted, SelfTraining(rounds=1, max_contamination=0.2))
        assert taken.contamination <= 0.2
        kept += taken.chosen[60:].sum() / taken.chosen.sum() <= taken.contamination
    # the threshold is chosen with the same planted objects, so somewhat fewer than 95 % of the limits may hold
    assert kept >= 180
    nothing = harvest(rng.normal(0.0, 1.0, 100), rng.normal(0.0, 1.0, 50), SelfTraining(rounds=1))
    assert not nothing.chosen.any()
    assert nothing.contamination > 0.2


def test_self_training_takes_lenses_in_and_says_why_it_ends(blobs, recipe_config, tmp_path: Path) -> None:
    config = recipe_config(
        "self-training",
        epochs=18,
        positives=8,
        negative_ratio=6.0,
        self_training={"rounds": 2, "max_contamination": 0.9},
    )
    result = train_recipe(*blobs, config, tmp_path)
    document = json.loads((tmp_path / "self-training.json").read_text())
    first = document["rounds"][0]
    assert first["unlabeled"] == 8 + 80 - 48  # what the two limits left out
    assert first["planted"] == 5 + 20
    assert 0.0 < first["contamination_limit"] <= 1.0
    assert document["ended"]
    assert result.phases[-1] == {"ended": document["ended"]}
    planted = set(pd.read_parquet(tmp_path / "planted.parquet")["source_id"])
    if (tmp_path / "round-0" / "new-lenses.parquet").exists():
        new = set(pd.read_parquet(tmp_path / "round-0" / "new-lenses.parquet")["source_id"])
        assert not new & planted
    assert load_checkpoint(result.best).description.endswith(")")
    store = CutoutStore.open(blobs[0])
    assert planted <= set(store.manifest["source_id"])


def test_self_training_needs_something_unlabeled(blobs, recipe_config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"0 objects of the training split have no label.*negatives_per_positive"):
        train_recipe(*blobs, recipe_config("self-training"), tmp_path)


# --- several devices, logs


def test_two_processes_train_one_network(blobs, blob_config, tmp_path: Path) -> None:
    config = blob_config(epochs=2, mining=Mining(share=0.25, start=0.3))
    first = train(*blobs, config, tmp_path / "a", device="cpu", devices=2)
    assert first.epochs == 2
    assert load_training_state(first.last)[1]["step"] == 14  # a batch is shared, not doubled
    assert (tmp_path / "a" / "provenance.json").exists()
    again = train(*blobs, config, tmp_path / "a", device="cpu")
    assert again.best_epoch == first.best_epoch  # finished: nothing is trained


def test_gradients_of_a_team_are_those_of_the_whole_batch() -> None:
    # Two processes with half a batch each have, on average, the gradient of the mean loss of the whole.
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(3, 1), torch.randn(8, 3)
    layer(x).square().mean().backward()
    whole = layer.weight.grad.clone()
    parts = []
    for rank in range(2):
        team = Team()
        team.rank, team.size = rank, 2
        rows = team.share(np.arange(8))
        layer.zero_grad()
        layer(x[rows]).square().mean().backward()
        parts.append(layer.weight.grad.clone())
    assert torch.allclose(torch.stack(parts).mean(dim=0), whole, atol=1e-6)


def test_teams_refuse_what_cannot_be_shared(blobs, blob_config, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(InputError, match="batch = 16 cannot be shared by 3 devices"):
        train(*blobs, blob_config(), tmp_path, device="cpu", devices=3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="2 devices were asked for, but this PyTorch sees 0 GPUs"):
        train(*blobs, blob_config(), tmp_path, device="cuda", devices=2)


def test_events_are_whole_after_an_interruption(blobs, blob_config, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(*blobs, blob_config(epochs=3, tensorboard=True), tmp_path)
    events = accumulator.EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    log = pd.read_csv(tmp_path / "log.csv")
    assert [event.step for event in events.Scalars("loss")] == log["step"].tolist()
    assert [event.value for event in events.Scalars("recall")] == pytest.approx(log["recall"].tolist(), rel=1e-5)


def test_one_training_in_a_folder_at_a_time(blobs, blob_config, tmp_path: Path) -> None:
    with held(tmp_path, ProcessError("held")), pytest.raises(ProcessError, match="another process is training here"):
        train(*blobs, blob_config(epochs=1), tmp_path)
    assert not list(tmp_path.iterdir())
    train(*blobs, blob_config(epochs=1), tmp_path)


def test_with_planted_contamination_it_does_not_end_below_its_start(
    blobs, recipe_config, tmp_path: Path, monkeypatch
) -> None:
    """More than 5 % of the new lenses are none; the folder says how many there can be, and nothing gets worse."""
    frame = read_sample(blobs[1]).frame.set_index("source_id")
    pools: list[list[str]] = []
    listed = self_training.unlabeled_objects

    def listing(*arguments):
        pools.append(listed(*arguments))
        return pools[-1]

    def contaminated(unlabeled, planted, settings):
        taken = harvest(unlabeled, planted, settings)
        others = np.flatnonzero(frame.loc[pools[-1], "label"].to_numpy() == 0)
        count = max(int(np.ceil(0.05 / 0.95 * taken.chosen.sum())), 1)
        chosen = taken.chosen.copy()
        chosen[others[np.argsort(-unlabeled[others])][:count]] = True  # the most lens-like ones
        return replace(taken, chosen=chosen, threshold=float(unlabeled[chosen].min()))

    monkeypatch.setattr(self_training, "unlabeled_objects", listing)
    monkeypatch.setattr(self_training, "harvest", contaminated)
    config = recipe_config(
        "self-training",
        epochs=24,
        positives=8,
        negative_ratio=6.0,
        self_training={"rounds": 2, "max_contamination": 0.9},
    )
    result = train_recipe(*blobs, config, tmp_path)
    document = json.loads((tmp_path / "self-training.json").read_text())
    harvested = [record for record in document["rounds"] if record.get("harvest")]
    assert harvested
    for record in harvested:
        new = pd.read_parquet(tmp_path / f"round-{record['round']}" / "new-lenses.parquet")["source_id"]
        contamination = float((frame.loc[new, "label"] == 0).mean())
        assert contamination >= 0.05
        assert contamination <= record["contamination_limit"]
    start = document["rounds"][0]["validation_recall"]
    assert result.recall >= start - standard_error(start, 4)


def test_a_contaminated_round_never_ends_below_the_start(blobs, recipe_config, tmp_path: Path, monkeypatch) -> None:
    """Every unlabeled object is taken for a lens, most of which are none: worse than 5 % of planted ones can be."""

    def everything(unlabeled, planted, settings):
        return Harvest(
            threshold=-1.0, chosen=np.ones(len(unlabeled), dtype=bool), planted_above=len(planted), contamination=0.9
        )

    def spoiled(*arguments, **options):
        result = train(*arguments, **options)
        # Rings are so easy that even these labels do no harm; the round has to look as if they had.
        return replace(result, recall=0.4) if arguments[3].name == "round-1" else result

    monkeypatch.setattr(self_training, "harvest", everything)
    monkeypatch.setattr(self_training, "train", spoiled)
    limits = {"positives": 8, "negative_ratio": 6.0}
    result = train_recipe(*blobs, recipe_config("self-training", epochs=18, **limits), tmp_path)
    document = json.loads((tmp_path / "self-training.json").read_text())
    assert [record["kept"] for record in document["rounds"]] == [True, False]
    assert "fewer validation lenses" in document["ended"]
    assert document["rounds"][0]["contamination_limit"] == 0.9
    start = document["rounds"][0]["validation_recall"]
    assert result.recall >= start - standard_error(start, 4)
    kept, first = (load_checkpoint(path).fingerprint() for path in (result.best, tmp_path / "round-0" / "best.pt"))
    assert kept == first
