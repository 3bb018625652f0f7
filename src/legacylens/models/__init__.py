"""Networks that turn a cutout into a logit, and the file that carries one with everything needed to use it.

In order: ``preprocessing`` (the record of how pixels are prepared), ``standardize`` (does it), ``symmetry`` (of the
square), ``bottleneck`` (the block of the published ResNets), ``shielded``, ``compact`` (one network each), ``registry``
(name -> network), ``execute`` (pixels to logits), ``checkpoint`` (the file), ``packaged`` (the network that comes with
the package).
"""
