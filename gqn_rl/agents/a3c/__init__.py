"""A3C, asynchronous advantage actor-critic (Mnih et al. 2016, arXiv:1602.01783, algorithm S3), for SB3's users.

`algorithm.py` is what a user holds (`A3C`), `learner.py` what each worker process does (`work`, `Learner`) with the
mathematics in `advantages.py`, and `coordinator.py` what the main process does meanwhile. `docs/a3c.md` lists every
detail of the implementation with its source.

    θ    the parameters, one flat vector in shared memory, beside it the shared state of the optimiser
    θ'   a worker's own copy of θ, taken before every rollout
    T    steps of a rollout (`n_steps`)
    N    environments that a worker steps side by side (1, unless the factory makes a vector environment)

The coordinator hands out work units, each the right to make some steps with an update after every T of them, and reads
what came of it. So the step count is exact, no counter needs a lock, and a worker cannot make its next update while the
callbacks of its last unit run: with one worker all happens in one order, always the same.
"""

from gqn_rl.agents.a3c.algorithm import A3C

__all__ = ["A3C"]
