"""legacylens finds strong gravitational lenses in the DESI Legacy Imaging Surveys.

The parts, in the order in which the data flows (``docs/data-flow.md``; the import contract holds the same order):
``survey`` -> ``catalog`` -> ``cutouts`` | ``lensing`` -> ``mocks`` -> ``samples`` -> ``models`` ->
``training`` | ``scan`` -> ``validation`` -> ``candidates`` -> ``plots`` -> ``config`` -> ``search`` -> ``cli``.
"""

__version__ = "0.1.0"
