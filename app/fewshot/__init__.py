"""Few-shot adaptation: learners that learn from many small tasks, and then a new one from a handful of examples.

Pure: arrays in, named results out. `training.py` meta-trains, `adapt.py` is the door to a trained learner.

Decisions
- *A learner has no batch statistics.* What compares features is trained with those of each batch, which is worth a
  point; a learner's are fixed, taken from training examples and folded into its weights. The `maml` family normalises
  each example by itself, in training too. So nothing of a query can reach another query: every learner is inductive by
  construction.
- *One forward pass for both engines.* Backbones take the array module as an argument: JAX where gradients are needed,
  NumPy where a trained learner only embeds. So the learners that embed and compare (all but the `maml` family) need no
  engine to serve, and no new shape waits for a compiler. Price: a convolution of nine slices, beside JAX's own, which
  trains twice as fast where tasks share the weights.
- *Two networks rather than a longer training.* Where classes are short a network soon has learnt what it can; two that
  were trained apart err differently, and answer with the mean of their log-odds. They take turns at updates, so that
  whatever ends a job ends them alike. Price: twice the time of an adaptation.
- *A head for any number of ways.* The `maml` family learns one initial vector, and every class starts from a copy of it
  (Ye & Chao 2022), so a learner that was trained 5-way adapts 20-way too, whatever the order of the classes.
- *The rate falls to zero along with what is left of the job*, of its episodes or its seconds, whichever ends it first.
  When its patience is over the end is moved nearer, instead of stopping at a high rate. How much is left is in the
  checkpoint, so the same seed and episodes give the same weights, however often a worker died. Weights are averaged
  exponentially as well, so that what a person stops is good too. Price: a longer job is not a shorter one continued.
"""
