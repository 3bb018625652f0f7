"""What an observed set says of the parameters: neural posterior estimation with the package `sbi`.

The one module that knows `sbi`, which stands on torch; both are imported when a posterior is learned, not before.
Parameters are learned as logits of their places in their ranges, so that no draw leaves them.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from legacylens.errors import InputError, ProcessError
from legacylens.realism.calibrate_config import Vector

EDGE = 1e-4
"""Places nearer to the edge of a range are moved to it: a logit has no end."""
HIDDEN, TRANSFORMS = 48, 4
"""Size of the flow (masked autoregressive)."""
BATCH, LEARNING_RATE = 100, 1e-3
PATIENCE = 12
"""Epochs without progress after which learning stops."""
MOST_EPOCHS = 150
ENOUGH = 10
"""Simulations for each coefficient of a regression."""
RIDGE = 1e-3


class _Silent:
    """A tracker of `sbi` that keeps nothing: its default writes a folder into the working directory."""

    log_dir = None

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Keep nothing."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keep nothing."""

    def log_params(self, params: dict[str, Any]) -> None:
        """Keep nothing."""

    def add_figure(self, name: str, figure: Any, step: int | None = None) -> None:
        """Keep nothing."""

    def flush(self) -> None:
        """Keep nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regression:
    """The best guess of every parameter by a regression on the summary: as many numbers as there are parameters.

    Notes
    -----
    Fearnhead & Prangle 2012 (J. R. Stat. Soc. B 74, 419): the posterior of a guess is as right as that of the whole
    summary, hardly wider if the guess is good, and learned from far fewer simulations.
    """

    center: Vector
    """Mean of the summaries."""
    scale: Vector
    """Their standard deviation."""
    coefficients: NDArray[np.float64]
    """Of a constant, of the scaled summary and, if there were enough simulations, of its squares."""
    spread: Vector
    """Standard deviation of each guess."""

    @classmethod
    def of(cls, summaries: Vector, targets: Vector) -> Regression:
        """Return the regression of targets, shape ``(simulation, parameter)``, on summaries."""
        center, scale = summaries.mean(axis=0), np.maximum(summaries.std(axis=0), 1e-9)
        squares = len(summaries) >= ENOUGH * 2 * summaries.shape[1]
        design = _design((summaries - center) / scale, squares=squares)
        middle = targets.mean(axis=0)
        penalty = RIDGE * len(design) * np.eye(design.shape[1])
        coefficients = np.linalg.solve(design.T @ design + penalty, design.T @ (targets - middle))
        spread = np.maximum((design @ coefficients).std(axis=0), 1e-9)
        return cls(center=center, scale=scale, coefficients=coefficients, spread=spread)

    def __call__(self, summaries: Vector) -> Vector:
        """Return the guesses, standardized, shape ``(set, parameter)``."""
        # Far outside of all that was learned a guess is without meaning; the checks say so by the summary itself.
        scaled = np.clip((summaries - self.center) / self.scale, -8.0, 8.0)
        squares = len(self.coefficients) > 1 + summaries.shape[1]
        return np.asarray(np.clip(_design(scaled, squares=squares) @ self.coefficients / self.spread, -8.0, 8.0))


def _design(scaled: Vector, *, squares: bool) -> Vector:
    parts = [np.ones((len(scaled), 1)), scaled, *([scaled**2 - 1.0] if squares else [])]
    return np.concatenate(parts, axis=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Posterior:
    """The posterior of any observed set, amortized."""

    network: Any
    """Conditional density estimator of `sbi`."""
    regression: Regression
    """What it is given of a summary."""

    def draw(self, summary: Vector, n: int, seed: int) -> Vector:
        """Return draws of the parameters as places in their ranges, shape ``(n, parameter)``.

        Parameters
        ----------
        summary
            Mean features of the observed set.
        n
            How many.
        seed
            Decides them.
        """
        import torch

        x = torch.as_tensor(self.regression(summary[None])[0], dtype=torch.float32)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            draws = self.network.sample(torch.Size((n,)), condition=x[None])
        values = expit(draws.reshape(n, -1).double().numpy())
        if not np.isfinite(values).all():
            raise ProcessError(
                "the posterior has draws that are no numbers: the observed set is too far from any other"
            )
        return np.asarray(values)


def learn_posterior(places: Vector, summaries: Vector, seed: int) -> Posterior:
    """Learn the posterior from simulated sets.

    Parameters
    ----------
    places
        Parameters as places in their ranges, drawn evenly, shape ``(simulation, parameter)``.
    summaries
        Mean features of the sets, shape ``(simulation, feature)``.
    seed
        Decides what is random in learning.

    Raises
    ------
    InputError
        If `sbi` is not installed, or there are too few simulations.
    """
    if len(places) < 100:
        raise InputError(f"{len(places)} simulated sets are too few to learn from: use at least 100, better 5,000")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its imports, about optional parts that are not used
            from sbi.inference import NPE
            from sbi.neural_nets import posterior_nn
    except ImportError as error:
        raise InputError(
            "calibration needs the package sbi: `pip install 'legacylens[calibrate]'` (`make install` brings it)"
        ) from error
    import torch

    targets = logit(np.clip(places, EDGE, 1.0 - EDGE))
    regression = Regression.of(summaries, targets)
    theta = torch.as_tensor(targets, dtype=torch.float32)
    x = torch.as_tensor(regression(summaries), dtype=torch.float32)
    # It says on standard output that it is done, where a JSON document may be expected.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # about the number of workers of its loaders and the like
        torch.manual_seed(seed)
        build = posterior_nn("maf", hidden_features=HIDDEN, num_transforms=TRANSFORMS, z_score_x="none")
        trainer = NPE(density_estimator=build, tracker=_Silent(), show_progress_bars=False)
        network = trainer.append_simulations(theta, x).train(
            training_batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            stop_after_epochs=PATIENCE,
            max_num_epochs=MOST_EPOCHS,
        )
    network.eval()
    return Posterior(network=network, regression=regression)


def evenly(n: int, dimensions: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return points spread evenly over the unit cube (a scrambled Sobol sequence), shape ``(n, dimensions)``."""
    from scipy.stats import qmc

    points = qmc.Sobol(dimensions, scramble=True, rng=rng).random(1 << max(n - 1, 1).bit_length())[:n]
    return np.asarray(np.clip(points, EDGE, 1.0 - EDGE))
