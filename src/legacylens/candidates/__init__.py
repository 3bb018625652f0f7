"""From scores to a list of systems: `config`, `group`, `names`, `columns`, `build`, `publish`."""
