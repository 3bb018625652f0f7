"""From labeled cutouts to a trained network that can be trusted to be the same when trained again.

In order: ``config`` (the records), ``metrics`` (recall at a fixed false-positive rate), ``sampling`` (the order of an
epoch), ``data`` (cutouts with labels), ``clipping`` (what a stretch flattens), ``augment`` (symmetries, shifts, noise),
``optimize`` (learning rate and running mean of the weights), ``loop`` (the training).
"""
