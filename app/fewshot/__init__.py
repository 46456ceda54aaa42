"""Few-shot adaptation: learners that learn from many small tasks, and then a new one from a handful of examples.

Pure: arrays in, named results out. `training.py` meta-trains, `adapt.py` is the door to a trained learner.

Decisions
- *No batch statistics anywhere.* Backbones normalise each example by itself, so nothing of a query can reach another
  query, neither in training nor later: every learner is inductive by construction. Price: no batch normalisation.
- *One forward pass for both engines.* Backbones take the array module as an argument: JAX where gradients are needed,
  NumPy where a trained learner only embeds. So the learners that embed and compare (all but the `maml` family) need no
  engine to serve, and no new shape waits for a compiler. Price: a convolution of nine slices, beside JAX's own, which
  trains twice as fast where tasks share the weights.
- *A head for any number of ways.* The `maml` family learns one initial vector, and every class starts from a copy of it
  (Ye & Chao 2022), so a learner that was trained 5-way adapts 20-way too, whatever the order of the classes.
- *No schedule of the learning rate.* Weights are averaged exponentially instead, so that a training which a time limit,
  a person or a dying worker cut short is as good as its episodes, and the same seed and episodes give the same weights.
"""
