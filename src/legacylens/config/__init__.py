"""Configuration files: `load` (TOML into checked records), `search` (the file of a whole search)."""
