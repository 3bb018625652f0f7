"""Which way of training is worth it: recipes and sample sizes on equal terms, judged on the same sealed cells.

In order: ``config`` (the records), ``judge`` (recalls, intervals and paired differences), ``runs`` (trainings and their
scores), ``compare`` (recipes), ``fit`` (a curve through recalls), ``curve`` (numbers of lenses and non-lenses) and
``ensemble`` (several networks instead of one).
"""
