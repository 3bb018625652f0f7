"""The shielded ResNet of the DESI lens searches: 194,433 parameters.

A parameter-exact reconstruction: Huang et al. (2021), Storfer et al. (2024) and Inchausti et al. (2025) publish the
idea (1x1 convolutions, the "shields", bring the output of every group of the CMU DeepLens ResNet back to 32 channels)
and the number of trainable parameters, not the layers. These layers follow DeepLens' own rule (a group fed C channels
has C in the middle and 2 C at its end) and sum to the published number; others might as well.

::

    stem    7x7, 32, BN, ELU              101 x 101     4,800
    group 1 3 x (16, 32), stride 1        101 x 101    11,552   its first block needs no BN: the stem activates
    shield  1x1, 32, BN, ELU                            1,088
    group 2 3 x (32, 64), stride 2         51 x  51    42,112
    shield  1x1, 32, BN, ELU                            2,112
    groups 3-5 with shields, the same      26, 13, 7  132,672
    BN, global average, linear                             97
"""

from __future__ import annotations

from torch import Tensor, nn

from legacylens.models.bottleneck import group
from legacylens.models.network import Network

WIDTH = 32
GROUPS = 5


def _shield(inputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ELU())


class ShieldedResNet(Network):
    """See the module's docstring.

    Parameters
    ----------
    bands
        Number of input channels.
    """

    def __init__(self, bands: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(bands, WIDTH, 7, padding=3), nn.BatchNorm2d(WIDTH), nn.ELU())
        first = [group(WIDTH, WIDTH // 2, WIDTH, stride=1, activated=True), _shield(WIDTH)]
        others = [
            part for _ in range(GROUPS - 1) for part in (group(WIDTH, WIDTH, 2 * WIDTH, stride=2), _shield(2 * WIDTH))
        ]
        self.groups = nn.Sequential(*first, *others)
        self.normalize = nn.BatchNorm2d(WIDTH)
        self.head = nn.Linear(WIDTH, 1)

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled features, ``(n, 32)``, of prepared images ``(n, band, y, x)``."""
        maps: Tensor = self.normalize(self.groups(self.stem(x)))
        return maps.float().mean(dim=(2, 3))
