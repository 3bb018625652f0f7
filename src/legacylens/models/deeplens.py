"""CMU DeepLens, the ResNet of Lanusse et al. (2018) with which the Legacy Surveys searches began: 3,511,681 parameters.

::

    stem    7x7, 32, BN, ELU             101 x 101      4,768
    group 1 3 x (16, 32), stride 1       101 x 101     10,400
    group 2 3 x (32, 64), stride 2        51 x  51     41,920
    group 3 3 x (64, 128), stride 2       26 x  26    165,760
    group 4 3 x (128, 256), stride 2      13 x  13    659,200
    group 5 3 x (256, 512), stride 2       7 x   7  2,629,120
    global average, linear                                513

As in the authors' code: convolutions before a batch normalization carry no bias; the stem activates for the first
block, whose shortcut is the identity; nothing normalizes the last group.
"""

from __future__ import annotations

from torch import Tensor, nn

from legacylens.models.bottleneck import group
from legacylens.models.network import Network

STEM = 32
MIDDLES = (16, 32, 64, 128, 256)


class DeepLens(Network):
    """See the module's docstring.

    Parameters
    ----------
    bands
        Number of input channels.
    """

    def __init__(self, bands: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(bands, STEM, 7, padding=3, bias=False), nn.BatchNorm2d(STEM), nn.ELU())
        groups, inputs = [], STEM
        for number, middle in enumerate(MIDDLES):
            first = number == 0
            stride = 1 if first else 2
            groups.append(
                group(inputs, middle, 2 * middle, stride=stride, project=not first, activated=first, bias=False)
            )
            inputs = 2 * middle
        self.groups = nn.Sequential(*groups)
        self.head = nn.Linear(inputs, 1)

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled features, ``(n, 512)``, of prepared images ``(n, band, y, x)``."""
        maps: Tensor = self.groups(self.stem(x))
        return maps.float().mean(dim=(2, 3))
