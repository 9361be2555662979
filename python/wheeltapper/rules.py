"""Rules of your own.

A rule looks at a run step by step and says when something is wrong. It runs beside the job in a
process of its own, without network, able to read the run and nothing to write; it gets every step
that all ranks have finished, once, in order.

Example:
    class LargeGradient(wheeltapper.Rule):
        def __init__(self, base_trial, limit=10.0):
            super().__init__(base_trial)
            self.limit = float(limit)

        def invoke_at_step(self, step):
            for name in self.base_trial.tensor_names(collection="gradients", step=step):
                largest = self.base_trial.tensor(name).reduction_value(step, "max", abs=True)
                if largest > self.limit:
                    self.report(f"{name} reaches {largest:.3g}", tensor=name, fix="clip gradients")

    Run it with `wheeltapper check RUN --rule rules.py:LargeGradient`, or name it in `rules.custom`;
    `[rules.large_gradient]` in wheeltapper.toml sets its parameters.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from wheeltapper.errors import NotFoundError

if TYPE_CHECKING:
    from wheeltapper.trial import Trial

SEVERITIES = ("info", "warning", "error", "critical")


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One thing that is wrong at one step.

    Attributes:
        message: One sentence: what, where, with numbers and units.
        tensor: The tensor concerned.
        module: The path of the module it belongs to.
        cause: The likely cause.
        fix: One thing to try.
        severity: "info", "warning", "error" or "critical"; None: the rule's own.
    """

    message: str
    tensor: str | None = None
    module: str | None = None
    cause: str | None = None
    fix: str | None = None
    severity: str | None = None

    def __post_init__(self) -> None:
        if self.severity is not None and self.severity not in SEVERITIES:
            known = ", ".join(SEVERITIES)
            raise ValueError(f'reporting: severity is not one of {known}: "{self.severity}"')

    def as_dict(self) -> dict[str, str]:
        """What is set, as text."""
        return {key: str(value) for key, value in asdict(self).items() if value is not None}


class Rule(ABC):
    """Base class of rules.

    Args:
        base_trial: The run to look at.
        action_str: Accepted for scripts written for smdebug, and not used: actions are configured
            in wheeltapper.toml. A list of trials in this place is taken as `other_trials`.
        other_trials: Other runs to compare with.
    """

    def __init__(
        self,
        base_trial: Trial,
        action_str: str | Sequence[Trial] = "",
        other_trials: Sequence[Trial] | None = None,
    ) -> None:
        if other_trials is None and not isinstance(action_str, str):
            other_trials, action_str = action_str, ""
        self.base_trial = base_trial
        self.other_trials: list[Trial] = list(other_trials or [])
        self.action_str = action_str
        self.rule_name = type(self).__name__
        self.logger = logging.getLogger(f"wheeltapper.rules.{self.rule_name}")
        self._reported: list[Observation] = []
        self._passed_over = ""

    @property
    def trials(self) -> list[Trial]:
        """The base trial and the others."""
        return [self.base_trial, *self.other_trials]

    @property
    def passed_over(self) -> str:
        """Why the step that `invoke` looked at last was passed over; "" when it was not."""
        return self._passed_over

    @abstractmethod
    def invoke_at_step(self, step: int) -> Any:
        """Looks at one finished global step.

        Returns:
            True when something is wrong, or an `Observation`, or a text that says what, or a list
            of these; anything false when all is well. What `report` was told counts as well.
        """

    def report(
        self,
        message: str,
        *,
        tensor: str | None = None,
        module: str | None = None,
        cause: str | None = None,
        fix: str | None = None,
        severity: str | None = None,
    ) -> None:
        """Says that something is wrong at the step being looked at."""
        self._reported.append(
            Observation(message=message, tensor=tensor, module=module, cause=cause, fix=fix, severity=severity)
        )

    def invoke(self, step: int) -> list[Observation]:
        """Everything wrong at a step: what was reported, then what `invoke_at_step` returned.

        A step at which something was not recorded, so that `invoke_at_step` ended in a
        `NotFoundError`, is passed over: it opens and resolves nothing, but what was reported until
        then counts. `passed_over` says why.
        """
        self._reported = []
        self._passed_over = ""
        returned = None
        try:
            returned = self.invoke_at_step(step)
        except NotFoundError as error:
            self._passed_over = str(error) or "something was not recorded"
        found = self._reported + self._observations_of(returned, step)
        self._reported = []
        return found

    def _observations_of(self, returned: Any, step: int) -> list[Observation]:
        if isinstance(returned, Observation):
            return [returned]
        if isinstance(returned, str) and returned:
            return [Observation(message=returned)]
        if isinstance(returned, (list, tuple)):
            return [found for item in returned for found in self._observations_of(item, step)]
        if not returned or self._reported:
            return []
        return [Observation(message=f"{self.rule_name} holds at step {step}")]
