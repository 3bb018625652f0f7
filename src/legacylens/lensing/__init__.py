"""Gravitational lensing in closed form: deflectors, sources, images and distances, in float64 torch, batched.

In order: ``ranges`` and ``frames`` (what parameters may be, and how they meet a grid), ``sie``, ``epl``, ``shear``,
``points`` and ``lens`` (deflectors and their sum), ``sources``, ``sersic`` and ``texture`` (what is lensed),
``critical`` (critical curves and caustics), ``images`` (the lens equation solved) and ``cosmology`` (distances).
"""
