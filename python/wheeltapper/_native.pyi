"""Wheeltapper's native half. Private: use the package `wheeltapper`."""

from collections.abc import Callable, Mapping, Sequence


class NativeArray:
    """Read-only memory of a run, through the buffer protocol."""

    @property
    def dtype(self) -> str:
        """Element type by its NumPy or torch name."""

    @property
    def shape(self) -> tuple:
        """Extents."""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""

class Table:
    """Columns of a run, readable by any Arrow library."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The Arrow C stream as a capsule."""

    def __len__(self) -> int: ...

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, in order."""

    def column(self, name: str) -> object:
        """One column: a NativeArray, or a list for text and lists."""

def tap(original: object, before: object | None = None, after: object | None = None) -> object:
    """
    A stand-in for `original` that calls before(*args, **kwargs) first and
    after(result, *args, **kwargs) when it returned, until its silence() is called. It
    leaves no frame in tracebacks.
    """

class Session:
    """Capture of one rank; see capture/session.h."""

    @staticmethod
    def start(run_dir: str, rank: int = 0, world_size: int = 1, framework: str = '', device: str = 'cpu') -> Session:
        """
        Starts capture for one rank of the run in `run_dir` (it must hold run.json).
        """

    def register_tensor(self, name: str, *, role: str = 'other', dtype: str = 'float32', shape: object = (), root: bool = False, collection: str = '') -> int:
        """The id of a tensor's name; the same id when it is registered again."""

    def register_scalar(self, name: str, role: str = 'metric') -> int:
        """The id of a scalar's name."""

    def take(self, id: int, mode: int = 0) -> int:
        """What is taken of it on an armed step, as bits; 0: nothing."""

    def meta(self, json: str) -> None:
        """Records a JSON object with a "kind"."""

    def describe_model(self, summary: str) -> None:
        """Notes a one-line description of the model in ranks/."""

    def armed(self, mode: int = 0) -> bool:
        """True when tensors of the present step are to be recorded."""

    def record_array(self, id: int, array: object) -> bool:
        """
        Records one array (exchange interface or buffer protocol); False when it cannot be
        read, which is noted as a gap.
        """

    def record_scalars(self, ids: list, values: list) -> None:
        """Scalars of the open step."""

    def log(self, ids: list, values: list, step: int = -1, mode: int = 0) -> None:
        """Scalars of their own, visible at once."""

    def log_known(self, values: object, ids: dict, step: int = -1, mode: int = 0) -> bool:
        """
        As log(), from a dict of numbers whose names `ids` maps to ids. False, and nothing
        recorded, when that is not what `values` is.
        """

    def finish_step(self, mode: int = 0, data_wait_ns: int = 0, hooks_ns: int = 0) -> bool:
        """
        Closes the open step; returns whether the next one of this mode is armed.
        """

    def mark_step(self) -> None:
        """
        The script itself ends the open step: it is committed even when nothing of it was
        recorded.
        """

    def amend_step(self, mode: int = 0) -> None:
        """
        What was recorded since a step was last finished belongs to the last one of this mode.
        """

    def unsupported(self, id: int) -> None:
        """Notes a gap: this tensor cannot be read."""

    def set_phase(self, phase: int) -> None:
        """What the training thread is in (the Phase of the rank page)."""

    def set_global_step(self, step: int) -> None:
        """After a resume: the next step to finish."""

    @property
    def held_ns(self) -> int:
        """Time that calls which record have taken so far, in ns."""

    @property
    def global_step(self) -> int:
        """The step that is open now."""

    def mode_step(self, mode: int = 0) -> int:
        """The open step counted within one mode."""

    def stop(self, deadline_s: float = 5.0) -> None:
        """Drains, seals within the deadline, ends the rank. Idempotent."""

    def flush(self, deadline_s: float = 5.0) -> None:
        """Returns when everything published is readable by others."""

    @property
    def counters(self) -> dict:
        """Steps, gaps, errors, overhead."""

    def disable(self) -> None:
        """
        The fuse has blown on the Python side: nothing is recorded any more, which a gap says.
        """

    @property
    def last_error(self) -> str | None:
        """The last internal error as text, or None."""

    @property
    def inert(self) -> bool:
        """True in a forked child: every call is then a no-op."""

class GatherPlan:
    """Tensors to record, found anew at every step, in one call."""

    def __init__(self, plain_types: tuple, resolve: Callable) -> None:
        """
        `plain_types` are read directly; any other object goes to resolve(object) first.
        """

    def add_object(self, object: object, id: int) -> None:
        """Records the object itself."""

    def add_attribute(self, owner: object, name: str, id: int) -> None:
        """Records an attribute of the owner, when it is not None."""

    def add_item(self, owner: dict, key: object, id: int) -> None:
        """Records an item of a dict, when it is there."""

    def record(self, session: Session, scale: float = 1.0) -> int:
        """
        Records what is there now, times `scale`; the number of tensors recorded.
        """

    def record_one(self, session: Session, object: object, id: int) -> bool:
        """Records one tensor outside the plan; False when it cannot be read."""

    @property
    def norm(self) -> float:
        """
        Euclidean norm over all tensors of the last record(), NaN when one of them
        held NaN or infinity or had no statistics taken.
        """

    @property
    def session_ns(self) -> int:
        """Time the last call spent inside the session."""

    def __len__(self) -> int: ...

class Trial:
    """Read view over one run; see trial/trial.h."""

    @staticmethod
    def open(path: str) -> Trial:
        """Opens a run directory."""

    def refresh(self) -> None:
        """Reads what has been committed since."""

    @property
    def path(self) -> str:
        """The run directory."""

    @property
    def info(self) -> dict:
        """run.json as a dict."""

    @property
    def end(self) -> dict | None:
        """How the run ended, or None."""

    @property
    def state(self) -> str:
        """running, finished, failed, stopped, interrupted or abandoned."""

    def name_info(self, name: str) -> dict | None:
        """What is known about a name, or None."""

    def names(self, *, regex: str = '', collection: str = '', mode: int | None = None, step: int | None = None) -> list[str]:
        """Names, sorted."""

    def collections(self) -> list[str]:
        """Names of the collections, sorted."""

    def steps(self, *, mode: int | None = None, rank: int | None = None, name: str | None = None, include_incomplete: bool = False) -> list[int]:
        """Steps, ascending."""

    def modes(self) -> list[int]:
        """Modes seen."""

    def ranks(self) -> list[int]:
        """Ranks seen."""

    def state_of_step(self, step: int, mode: int | None = None) -> int:
        """0 unavailable, 1 available, 2 not yet available."""

    def wait_for_step(self, step: int, mode: int | None = None, timeout_s: float = 0.0) -> None:
        """Returns when the step is available; raises when it can no longer be."""

    def scalars(self, name: str, *, mode: int | None = None, rank: int | None = None, first_step: int | None = None, last_step: int | None = None) -> dict:
        """A scalar's points as columns."""

    def reduction(self, name: str, reduction: str, *, abs: bool = False, ddof: int = 0, mode: int | None = None, rank: int | None = None, first_step: int | None = None, last_step: int | None = None, merge_ranks: bool = False) -> dict:
        """A reduction of a tensor over its steps, as columns."""

    def histograms(self, name: str, *, mode: int | None = None, rank: int | None = None) -> dict:
        """Histograms as lists of (low, high, count)."""

    def value(self, name: str, step: int, mode: int = 0, rank: int = 0) -> NativeArray:
        """A raw tensor without a copy."""

    def values(self, name: str, mode: int = 0, rank: int = 0) -> list:
        """
        All raw values without a copy: (steps, array of one more dimension) for each stretch of values that are alike.
        """

    def step_times(self, *, mode: int | None = None, rank: int | None = None) -> dict:
        """Time of each step as the job measured it, as columns."""

    def gaps(self) -> list:
        """What was not recorded, and why."""

    def metas(self) -> list[str]:
        """JSON texts of the run's metas, in commit order."""

    @property
    def overhead(self) -> tuple:
        """(fraction, blocked_ns, elapsed_ns)."""

    def table(self, table: str, *, regex: str = '', collection: str = '', mode: int | None = None, rank: int | None = None) -> Table:
        """scalars, stats, tensors or steps as one table."""

def reduce(array: object, *, product: bool = False, median: bool = False, ddof: int = 0) -> dict:
    """Every reduction of one array, by name, in one pass."""

def histogram(array: object) -> dict:
    """
    Log-linear histogram of one array (its non-empty bins) and seven quantiles.
    """

def kernel_target() -> str:
    """The instruction set the kernels run on."""

def names_loss(name: str) -> bool:
    """Whether a value logged under this name is a loss."""

def storage_path() -> str:
    """The configured folder that holds the run directories."""

def create_run(run_dir: str, *, name: str = '', argv: Sequence[str] = [], cwd: str = '', environment: Mapping[str, str] = {}) -> None:
    """Makes a run directory with run.json and the resolved configuration."""

def join_training(run_dir: str, *, rank: int, world_size: int, group: str, launcher: str, restarted: bool, parent_pid: int, child: str) -> tuple:
    """
    The run that this process records into, of the command that `run_dir` was made for:
    (run directory, number of the training, attempt).
    """

def leave_training(run_dir: str, *, number: int, attempt: int, rank: int, exit_code: int) -> None:
    """Notes with which status this process's part of a training ends."""

def leave_training_at_exit(run_dir: str, *, number: int, attempt: int, rank: int) -> None:
    """
    Does so when the process exits, after the interpreter. A process that dies of a signal
    or leaves through os._exit notes nothing.
    """

def end_run_at_exit(run_dir: str) -> None:
    """
    Writes END with this process's exit status when it exits, after the interpreter. A process that dies of a signal or leaves through os._exit writes none.
    """

def recover_run(run_dir: str) -> dict:
    """Makes a run whose writers are dead whole; what was done, as a dict."""

def check_run(run_dir: str) -> dict:
    """Checks every file of a run; never writes."""
