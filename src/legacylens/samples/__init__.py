"""Which objects a network learns from and is judged on.

In order: `config`, `labels`, `split`, `draw`, `pools`, `simulated`, `build`, `leave_one_out`, `suspicious`.
"""
