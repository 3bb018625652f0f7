"""Networks that turn a cutout into a logit, and the file that carries one with everything needed to use it.

In order: ``preprocessing`` (the record of how pixels are prepared), ``standardize`` (does it), ``symmetry`` (of the
square), ``network`` (what every one of them is), ``bottleneck`` (the block of the published ResNets), ``shielded``,
``deeplens``, ``efficientnet``, ``compact`` (one network each), ``meta`` (on top of others), ``registry`` (name ->
network), ``checkpoint`` (the file), ``pretrained`` (weights from elsewhere), ``combine`` (several networks' logits into
one), ``execute`` (pixels to logits), ``packaged`` (the network that comes with the package).
"""
