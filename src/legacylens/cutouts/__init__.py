"""What a source looks like: `cutout` (the record), `rgb` (pictures), `store` (many of them), `bricks`, `decode`."""
