"""When a training run is evaluated: more often at first, while its curve is steep."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class EvalSchedule:
    """Environment steps between evaluations.

    Attributes:
        every: in general.
        first_every: during the first `first_steps`; None is as in general.
        first_steps: how long.

    >>> schedule = EvalSchedule(every=100, first_every=10, first_steps=40)
    >>> [step for last, step in ((0, 10), (10, 19), (20, 41), (40, 99), (40, 100)) if schedule.is_due(step, last)]
    [10, 41, 100]
    """

    every: int
    first_every: int | None = None
    first_steps: int = 0

    def __post_init__(self) -> None:
        for name in ("every", "first_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`eval_{name}` must be at least 1 environment step, got {value}.")

    def is_due(self, step: int, last: int) -> bool:
        """Tells whether an evaluation at `step` is due after that at `last`, -1 when there was none."""
        if last < 0 or step // self.every > last // self.every:
            return True
        if self.first_every is None or last >= self.first_steps:
            return False
        return min(step, self.first_steps) // self.first_every > last // self.first_every
