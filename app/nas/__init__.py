"""Architecture search, pure: spaces of networks, what is tried next, and what is recommended.

    genes          a tuple of small integers: one choice each, as many as the space has places
    canonical      the one writing of genes that describe the same network
    metric         what an evaluation measures, to be maximised; noisy, since training is
    complexity     parameters or FLOPs, in [0, 1] over the space; known before training, and never modelled
    reward         metric − penalty · complexity

Nothing here trains; `train.py` and `weights.py` hold JAX, and a worker alone loads them.
"""
