"""A score for every cutout: of a whole store, resumable, or of the files that a user has at hand.

In order: ``config`` (the record), ``scorer`` (checkpoint to scores), ``score`` (a store, part by part), ``cutouts``
(cutouts in memory), ``files`` (cutouts in files).
"""
