"""The capture session of this process: at most one, for one rank, started when first needed.

`wheeltapper run` names the run directory in WHEELTAPPER_RUN_DIR; a job that uses the package
without it gets a run directory of its own under `storage.path`. DataLoader workers and
forked children of a captured process have no session.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wheeltapper._first_told import FirstTold
from wheeltapper._fuse import FUSE, MAX_ERRORS
from wheeltapper._ranks import Training, find_rank, parent_process
from wheeltapper._scalars import numbers_of, role_of_scalar
from wheeltapper.errors import AlreadyExistsError, InvalidArgumentError, WheeltapperError

if TYPE_CHECKING:
    from wheeltapper import _native

MODES = ("train", "eval", "predict", "global")
TRAIN, EVAL, PREDICT, GLOBAL = range(4)
STOP_DEADLINE_S = 5.0

# Phases of the rank page (format/rank_segment.h).
PHASE_RUNNING, PHASE_DATA_WAIT, PHASE_FORWARD, PHASE_BACKWARD, PHASE_OPTIMIZER = range(1, 6)


def in_worker() -> bool:
    """True in a DataLoader worker process."""
    data = sys.modules.get("torch.utils.data")
    return data is not None and data.get_worker_info() is not None


class RankSession:
    """One rank's capture and what Python must know about the step that is open."""

    def __init__(self, native: _native.Session, run_dir: str, *, rank: int, training: Training | None) -> None:
        self.native = native
        self.run_dir = run_dir
        self.rank = rank
        self.training = training  # None: the run is the job's own, without a watcher
        self.mode: int | None = None  # set by `wheeltapper.mode`
        self.armed = native.armed(TRAIN)
        self.backward_seen = False  # since the last finished step
        self.backward_ever = False  # the loop has backward passes
        self.round_open = False  # an optimizer has stepped in the open step
        self.explicit_steps = False  # the script calls wheeltapper.step()
        self.first_told = FirstTold()
        self._left_out_told = False
        self.data_wait_ns = 0
        self.hooks_ns = 0  # in hooks of ours since the last finished step, but for calls of `native`
        self._entered_ns = 0  # when the hook that is running was entered
        self._held_ns = 0  # `native.held_ns` at that time
        # Says whether the watched model is in eval mode; set by the framework's part.
        self.in_eval: Callable[[], bool] | None = None
        # Called after each finished training step with whether the next one is armed.
        self.on_finished: Callable[[bool], None] | None = None
        # Called before the session stops, to finish a step that is still open.
        self.on_closing: Callable[[], None] | None = None
        self._scalars: dict[str, int] = {}

    def scalar_id(self, name: str) -> int:
        """The id of a scalar, registered when it is new under the role that its name tells."""
        known = self._scalars.get(name)
        if known is None:
            known = self._scalars[name] = self.native.register_scalar(name, role_of_scalar(name))
        return known

    def enter_hook(self) -> None:
        """The framework has called us: the job waits."""
        self._held_ns = self.native.held_ns
        self._entered_ns = time.perf_counter_ns()

    def leave_hook(self) -> None:
        """The job goes on. What `native` took it has counted itself."""
        if self._entered_ns == 0:
            return  # another thread's hook, which overlapped, has ended and taken it
        spent = time.perf_counter_ns() - self._entered_ns - (self.native.held_ns - self._held_ns)
        self.hooks_ns += max(spent, 0)
        self._entered_ns = 0

    def enter_mode(self, mode: int | None) -> None:
        """What is recorded from here on belongs to `mode`; None: to whatever the framework shows."""
        self.mode = mode
        self.armed = self.native.armed(TRAIN if mode is None else mode)

    def present_mode(self) -> int:
        """The mode of what happens now: `wheeltapper.mode`, else eval while the model is in eval mode."""
        if self.mode is not None:
            return self.mode
        return EVAL if self.in_eval is not None and self.in_eval() else TRAIN

    def present_step(self) -> int:
        """The step that a value logged now belongs to.

        The coming step when a backward pass has run since the last one finished, or in a loop without
        any that ends its steps by `wheeltapper.step()`; else the last finished one.
        """
        coming: int = self.native.global_step
        own_loop = self.explicit_steps and not self.backward_ever and not self.first_told.unsettled
        return coming if self.backward_seen or self.round_open or own_loop else max(coming - 1, 0)

    def log(self, values: Mapping[str, Any], *, step: int | None = None, mode: int | None = None) -> None:
        """Records scalars of their own, visible at once: the `numbers_of` the mapping."""
        which = self.present_mode() if mode is None else mode
        if step is None and which == TRAIN and self.first_told.comes_again("log", values):
            self.settle(own=True)
        at = self.present_step() if step is None else step
        # Nearly every call: a dict of numbers under names that were logged before, read in one go.
        if not self.native.log_known(values, self._scalars, at, which):
            numbers = dict(numbers_of(values))
            for name in numbers:
                self.scalar_id(name)
            self.native.log_known(numbers, self._scalars, at, which)

    def meta(self, kind: str, **fields: Any) -> None:
        """Records a JSON object with this "kind"."""
        self.native.meta(json.dumps({"kind": kind, **fields}, default=str))

    def end_told_step(self, mode: int) -> None:
        """The script says that the open step of `mode` has ended.

        When it says so for the first time after steps that an optimizer counted by itself, it may mean
        the last of these or one of its own. After the first of them it means that one: its loop says so
        each time. Otherwise what comes next tells.
        """
        if mode == TRAIN and not self.explicit_steps:
            self.explicit_steps = True
            counted = self.native.mode_step(TRAIN)
            if counted > 0 and not (self.backward_seen or self.round_open):
                self.first_told.happen()
                if counted == 1:
                    self.settle(own=False)
                return
        self.settle(own=mode == TRAIN)
        self.finish_step(mode, told=True)

    def settle(self, *, own: bool) -> None:
        """What the first step() ended is known: a step of the script's own, or the optimizer's last.

        The optimizer's when training goes on; its own when the loop comes round without.
        """
        if not self.first_told.unsettled:
            return
        holds_saved = self.first_told.holds_saved
        self.first_told.settle()
        if own:
            self.backward_ever = False
            self.finish_step(TRAIN, told=True)
        elif holds_saved:
            self.native.amend_step(TRAIN)

    def save(self, described: int, name: str, array: Any) -> None:
        """Records an array of the script's own as part of the open step."""
        if self.present_mode() == TRAIN and self.first_told.comes_again("save", (name,)):
            self.settle(own=True)
        if self.first_told.holds_saved:
            self.first_told.holds_saved = False
            self.native.amend_step(TRAIN)  # what is saved now is no part of what has ended
        if self.explicit_steps and not self.armed and not self._left_out_told:
            self._left_out_told = True
            note(
                f'save_tensor: "{name}" is not kept at step {self.native.global_step}: arrays are kept at the steps '
                "that are captured, as capture.every and budget say (capture.every=1: at every step); this is said once"
            )
        self.native.record_array(described, array)

    def finish_step(self, mode: int, *, told: bool = False) -> None:
        """Closes the open step of `mode`; one that the script itself ends counts whatever it holds."""
        if told:
            self.native.mark_step()
        in_hook = self._entered_ns != 0
        if in_hook:
            self.leave_hook()
        self.armed = self.native.finish_step(mode, self.data_wait_ns, self.hooks_ns)
        self.data_wait_ns = 0
        self.hooks_ns = 0
        if in_hook:
            self.enter_hook()
        if mode == TRAIN:
            self.backward_seen = False
            self.round_open = False
            self.first_told.forget()
        else:
            self.armed = self.native.armed(TRAIN)
        if self.on_finished is not None:
            self.on_finished(self.armed)
        if FUSE.strict and self.native.last_error is not None:
            raise WheeltapperError(self.native.last_error)

    def close(self) -> None:
        """Ends the rank: the last open step, a traceback when there is one, seal."""
        if self.on_closing is not None:
            self.on_closing()
        self.settle(own=False)
        error = getattr(sys, "last_value", None)
        if error is None and self.training is not None and self.training.in_child:
            error = sys.exc_info()[1]
        if error is not None and not isinstance(error, SystemExit):
            self.meta(
                "exception",
                type=type(error).__name__,
                message=str(error),
                traceback="".join(traceback.format_exception(error)),
                step=self.native.global_step,
            )
        self.native.stop(STOP_DEADLINE_S)
        if self.training is not None:
            self.training.leave()
        elif self.rank == 0:
            from wheeltapper import _native

            _native.end_run_at_exit(self.run_dir)


class _Process:
    """The state of this process; reset in forked children."""

    def __init__(self) -> None:
        self.session: RankSession | None = None
        self.closed = os.environ.get("WHEELTAPPER_DISABLE") == "1"
        self.exit_registered = False


_PROCESS = _Process()


def running() -> RankSession | None:
    """The session when it has been started."""
    return _PROCESS.session


def under_watcher() -> bool:
    """True when `wheeltapper run` started this job."""
    return bool(os.environ.get("WHEELTAPPER_RUN_DIR"))


def start(*, asked: bool = False) -> RankSession | None:
    """The session, started when this process may have one; None otherwise.

    A session that cannot start (no space, the rank is taken) notes its reason and is not tried
    again.
    """
    if _PROCESS.session is not None or _PROCESS.closed:
        return _PROCESS.session
    if in_worker():
        return None
    _PROCESS.closed = True  # until it has worked
    run_dir = os.environ.get("WHEELTAPPER_RUN_DIR", "")
    try:
        _PROCESS.session = _start_in(run_dir)
    except Exception as error:
        if asked and not under_watcher() and isinstance(error, InvalidArgumentError):
            _PROCESS.closed = False
            raise
        note(f"capture did not start: {error}")
        if FUSE.strict:
            raise
        return None
    _PROCESS.closed = False
    register_exit()
    return _PROCESS.session


def start_asked() -> RankSession | None:
    """As `start`, for a call of the user's own, who can mend the configuration.

    Raises:
        wheeltapper.errors.InvalidArgumentError: It has a mistake; the next such call tries again.
    """
    return start(asked=True)


def _start_in(run_dir: str) -> RankSession:
    from wheeltapper import _native

    rank, world_size = find_rank()
    training = Training(run_dir, rank, world_size) if run_dir else None
    run_dir = _make_run(world_size) if training is None else training.run_dir
    torch = sys.modules.get("torch")
    framework = "" if torch is None else f"torch {torch.__version__}"
    native = _native.Session.start(run_dir, rank, world_size, framework, "cpu")
    return RankSession(native, run_dir, rank=rank, training=training)


def _make_run(world_size: int) -> str:
    """A run directory of this job's own; all ranks of one launcher share it."""
    from wheeltapper import _native

    runs = Path(_native.storage_path())
    script = Path(sys.argv[0]).stem if sys.argv and sys.argv[0] not in {"", "-c", "-m"} else "session"
    if world_size > 1:
        suffix = f"{os.getppid()}-{os.environ.get('MASTER_PORT', '0')}"
    else:
        suffix = time.strftime("%Y%m%d-%H%M%S") + f"-{os.getpid()}"
    runs.mkdir(parents=True, exist_ok=True)
    ignore = runs / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    run_dir = str((runs / f"{script}-{suffix}").absolute())
    with contextlib.suppress(AlreadyExistsError):  # another rank was first
        _native.create_run(
            run_dir,
            argv=list(sys.argv),
            cwd=str(Path.cwd()),
            environment={"python": sys.version.split()[0]},
        )
    return run_dir


def note(text: str) -> None:
    """Leaves a line for the watcher, in `RUN/logs/attach-<pid>.txt`; without one, on stderr.

    Under a watcher the script's own output is not ours to write to.
    """
    text = " ".join(text.split())
    run_dir = os.environ.get("WHEELTAPPER_RUN_DIR")
    if not run_dir:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or there is none
            print(f"wheeltapper: {text}", file=sys.stderr, flush=True)
        return
    try:
        logs = Path(run_dir, "logs")
        logs.mkdir(exist_ok=True)
        with (logs / f"attach-{os.getpid()}.txt").open("a", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError:
        pass  # a run directory that cannot be written shows elsewhere


def _tell_first(error: Exception) -> None:
    note(f"an error of Wheeltapper's own, the job goes on: {_last_words(error)}")


def _tell_blown(text: str) -> None:
    session = _PROCESS.session
    step = 0 if session is None else session.native.global_step
    note(f"recording ended at step {step} after {MAX_ERRORS} errors, the job goes on: {text.splitlines()[-1]}")
    if session is not None:
        session.meta("fuse", step=step, message=text)
        session.native.disable()


def _last_words(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


FUSE.on_first = _tell_first
FUSE.on_blown.append(_tell_blown)


def register_exit() -> None:
    """Has the session closed at exit, unless the shim does: it registered first of all, so that it runs last."""
    if parent_process()[0] > 0:
        from multiprocessing import util

        util.Finalize(None, close, exitpriority=0)  # such a process runs no exit handlers of its own
        return
    shim = any(getattr(finder, "closes_session", False) for finder in sys.meta_path)
    if not shim and not _PROCESS.exit_registered:
        _PROCESS.exit_registered = True
        atexit.register(close)


def close() -> None:
    """Ends the session of this process for good. Idempotent."""
    session, _PROCESS.session = _PROCESS.session, None
    _PROCESS.closed = True
    if session is None:
        return
    try:
        session.close()
    except Exception as error:
        note(f"capture did not end cleanly: {error}")
        if FUSE.strict:
            raise


def _after_fork_in_child() -> None:
    if _PROCESS.session is not None:
        _PROCESS.session = None
        _PROCESS.closed = True


os.register_at_fork(after_in_child=_after_fork_in_child)
