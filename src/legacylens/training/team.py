"""The processes that train one network together, each on its own device with its own part of every batch.

Lightning Fabric starts them and passes numbers between them. The loop itself stays ours: an interrupted run goes on
with exactly the weights that it would have had, which a trainer that owns the loop does not promise.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.multiprocessing.spawn import ProcessRaisedException

from legacylens.errors import InputError, ProcessError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Team:
    """One process alone: there is nobody to agree with."""

    rank = 0
    """Number of this process; the first one writes files."""
    size = 1
    """Number of processes."""

    def share(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return this process's part of the rows of a batch."""
        return rows[self.rank :: self.size]

    def average_gradients(self, modules: Iterable[nn.Module]) -> None:
        """Bring the gradients of all processes to their mean."""

    def average_buffers(self, network: nn.Module) -> None:
        """Bring the normalization statistics of all processes to their mean."""

    def mean(self, value: float) -> float:
        """Return the mean of a number over all processes."""
        return value

    def most(self, value: float) -> float:
        """Return the largest of a number over all processes."""
        return value

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of arrays over all processes."""
        return values

    def wait(self) -> None:
        """Wait until all processes are here."""


class FabricTeam(Team):
    """Several processes that Lightning Fabric has started.

    Parameters
    ----------
    fabric
        Launched.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self.rank, self.size = fabric.global_rank, fabric.world_size

    def _reduced(self, tensor: torch.Tensor, how: str) -> torch.Tensor:
        result = self._fabric.all_reduce(tensor.to(self._fabric.device), reduce_op=how)
        if not isinstance(result, torch.Tensor):
            raise ProcessError(f"the processes returned {type(result).__name__} for a tensor; this is a fault of ours")
        return result

    def _average(self, tensors: list[torch.Tensor]) -> None:
        """Average many tensors in one message."""
        if not tensors:
            return
        mean = self._reduced(torch.cat([tensor.detach().float().flatten() for tensor in tensors]), "mean")
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, part in zip(tensors, torch.split(mean, sizes), strict=True):
            tensor.copy_(part.reshape(tensor.shape))

    @torch.no_grad()
    def average_gradients(self, modules: Iterable[nn.Module]) -> None:
        """Bring the gradients of all processes to their mean."""
        parameters = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:  # e.g. no lens of both kinds in this process's part
                parameter.grad = torch.zeros_like(parameter)
        self._average([parameter.grad for parameter in parameters if parameter.grad is not None])

    @torch.no_grad()
    def average_buffers(self, network: nn.Module) -> None:
        """Bring the normalization statistics of all processes to their mean."""
        self._average([buffer for buffer in network.buffers() if buffer.is_floating_point()])

    def mean(self, value: float) -> float:
        """Return the mean of a number over all processes."""
        return float(self._reduced(torch.tensor(value, dtype=torch.float64), "mean"))

    def most(self, value: float) -> float:
        """Return the largest of a number over all processes."""
        return float(self._reduced(torch.tensor(value, dtype=torch.float64), "max"))

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of arrays over all processes."""
        return np.asarray(self._reduced(torch.from_numpy(values), "sum").cpu().numpy())

    def wait(self) -> None:
        """Wait until all processes are here."""
        self._fabric.barrier()


def launch(work: Callable[..., Any], devices: int, device: str, *arguments: Any) -> Any:
    """Run ``work(team, device, *arguments)`` in several processes and return what the first one returns.

    Parameters
    ----------
    work
        Function at the top of a module.
    devices
        Number of processes, each with a device of its own (on a CPU: a process).
    device
        ``auto``, ``cpu`` or ``cuda``.
    arguments
        Can be pickled.

    Raises
    ------
    InputError
        If Lightning Fabric is not installed or there are not so many devices.
    ProcessError
        If one of the processes fails; the others are ended.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise InputError(
            f"{devices} devices need Lightning Fabric: pip install 'lightning-fabric>=2.4' (or train on one)"
        ) from error
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if on_gpu and torch.cuda.device_count() < devices:
        raise InputError(f"{devices} devices were asked for, but this PyTorch sees {torch.cuda.device_count()} GPUs")
    fabric = Fabric(accelerator="cuda" if on_gpu else "cpu", devices=devices, strategy="ddp_spawn")
    try:
        start: Callable[..., Any] = fabric.launch  # it passes on more arguments than its signature says
        return pickle.loads(start(_in_process, work, arguments))
    except ProcessRaisedException as error:
        last = str(error).strip().splitlines()[-1]
        raise ProcessError(f"a process of {devices} failed: {last}") from error


def _in_process(fabric: Fabric, work: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    # Bytes: Fabric looks for tensors in what is returned and refuses frozen records.
    return pickle.dumps(work(FabricTeam(fabric), str(fabric.device), *arguments))
