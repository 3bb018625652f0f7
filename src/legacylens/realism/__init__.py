"""Whether simulated lenses look like the sky, asked of their pixels with the code that measures real ones.

In order: `measure_config`, `stack`, `host_light`, `chromatic`, `lens_templates`, `arc_search`, `arc_model`,
`arc_photometry`, `statement`, `columns`, `seeing` and `measure`
(a row of numbers for each object); `inputs`, `null` and `run`
(sets of cutouts, what galaxies without arcs give, and the table that is written); `control_sky` and `control_sets`
(sets of known faults); `compare`, `reference`, `audit_rules`, `audit` and `audit_run` (what is wrong with a set);
`embedding`, `gate_config`, `gate` and `gate_run` (whether it may be trained on); `controls` (whether the gate may be
believed).
"""
