"""From labeled cutouts to a trained network that can be trusted to be the same when trained again.

In order: ``recipe`` (the recipes by name), ``config`` (the records), ``metrics`` (recall at a fixed false-positive
rate), ``sampling`` (the order of an epoch), ``subset`` (which objects), ``simulated``, ``fresh``, ``lens_sources``
(injected lenses), ``data`` (cutouts with labels), ``clipping`` (what a stretch flattens), ``noise`` (that of a
coadd), ``augment`` (symmetries, shifts, noise), ``batches`` (what a step is made of),
``alignment`` (real and simulated lenses alike), ``mining`` (hard negatives), ``optimize`` (learning rate and running
mean of the weights), ``run_state`` and ``identity`` (what is saved), ``events`` (logs), ``team`` (several devices),
``loop`` (one training), ``self_training`` and ``recipes`` (several).
"""
