"""A lean forward pass for small decoder models: few operators per step, a static cache, no autograd.

transformers' own forward spends most of a small model's step in operator overhead. This one fuses projections, folds
norm gains and scales into weights when they are installed, and never allocates what it can keep. It computes in
float32, and is checked against transformers' forward (tests/unit/policies/test_lean_step.py).

    shape.py       what an architecture is          weights.py     fused weights
    cache.py       keys and values by row           step.py        decode and fill
    rows.py        the host's record of each row    jobs.py        jobs, and which are refused
    generation.py  turns: plan, fill, decode        checkpoint.py  weights and shape from a folder
"""
