"""When a step ends, with any number of optimizers.

A step is one round of the optimizers. With one optimizer each `step()` ends a step at once. With
several, the first round ends when one of them would step for the second time; the optimizer that
was last in it ends each later round at once. An optimizer that steps again before the round has
ended begins a new one. So a GAN's two optimizers count one step per iteration, an optimizer per
parameter (optimizer-in-backward) one per backward pass, and no optimizer appears twice in a step.
"""

from __future__ import annotations


class StepRounds:
    """Follows optimizers by a token each.

    Example:
        >>> rounds = StepRounds()
        >>> [rounds.before(1), rounds.after(1, optimizers=2)]  # discriminator, first iteration
        [False, False]
        >>> [rounds.before(2), rounds.after(2, optimizers=2)]  # generator
        [False, False]
        >>> [rounds.before(1), rounds.after(1, optimizers=2)]  # second iteration: the first has ended
        [True, False]
        >>> [rounds.before(2), rounds.after(2, optimizers=2)]  # from now on the generator ends it
        [False, True]
    """

    def __init__(self) -> None:
        self._open: list[int] = []
        self._closer: int | None = None

    @property
    def open(self) -> bool:
        """True when an optimizer has stepped in the present round."""
        return bool(self._open)

    def before(self, token: int) -> bool:
        """An optimizer is about to step; True when the open step has to be finished first."""
        if token not in self._open:
            return False
        self._closer = self._open[-1]
        self._open.clear()
        return True

    def after(self, token: int, *, optimizers: int) -> bool:
        """An optimizer has stepped, `optimizers` being alive; True when this ends the step."""
        self._open.append(token)
        if self._closer is None and optimizers <= 1:
            self._closer = token
        if token == self._closer:
            self._open.clear()
            return True
        return False

    def forget(self, token: int) -> None:
        """An optimizer is gone."""
        if token == self._closer:
            self._closer = None
        if token in self._open:
            self._open.remove(token)
