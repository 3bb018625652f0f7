"""Skies that we know: `psf`, `render` (lensed light in survey units), then a release of them, down to `release`."""
