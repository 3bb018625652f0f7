"""How far to trust the scores, before the survey is scanned.

In order: ``intervals`` (exact binomial), ``recall``, ``auc``, ``purity``, ``tail`` (thresholds beyond the measured),
``bootstrap`` (resampled sky cells), ``budget`` (a threshold for the inspections there are), ``probability``,
``config``, ``sealed`` (the ledger), ``holdouts``, ``report``, ``compare``, ``contaminants``; ``stamps``, ``leakage``,
``leaks`` (what a sample gives away); ``shortcut_edits``, ``shortcuts``, ``shortcut_sky``, ``shortcut_controls``,
``shortcut_run`` (does a network look at arcs), ``saliency``; ``completeness``, ``selection_function``,
``sky_conditions``, ``sky_map``, ``completeness_run`` (what is missed).
"""
