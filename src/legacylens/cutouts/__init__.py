"""What a source looks like: `cutout`, `rgb`, `store`; from a release (`bricks`), a `service` or files (`decode`)."""
