"""Where we look: `bands`, `maskbits`, `sphere`, `cells` (HEALPix), `grid` (pixels), `release`, `remote`, `bricks`."""
