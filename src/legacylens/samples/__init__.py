"""Which objects a network learns from and is judged on: `config`, `labels`, `split`, `draw`, `build`."""
