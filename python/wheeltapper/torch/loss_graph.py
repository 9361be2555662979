"""What a loss is computed from, as the autograd graph shows it when backward() begins.

A softmax before `cross_entropy`, which takes its own, and the like train silently and badly. The
graph tells them on any device and for functions as for modules, and no value is read. What was
compiled as a whole, loss and all, is one node of it and says nothing.
"""

from __future__ import annotations

import math
import re
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wheeltapper._session import RankSession

LOOKS = 8  # backward passes looked at, after each optimizer that was made
MOST_NODES = 64  # of a sum of losses

# Names of torch's autograd nodes without "Backward0".
SUMS = frozenset({"Add", "Sub", "Mul", "Div", "Neg", "Sum", "Mean", "ToCopy", "Stack", "Cat", "View", "Squeeze"})
SHAPES = frozenset(
    {
        "View",
        "UnsafeView",
        "ReshapeAlias",
        "Permute",
        "Transpose",
        "T",
        "Squeeze",
        "Unsqueeze",
        "Select",
        "Slice",
        "Index",
        "Clone",
        "ToCopy",
        "Alias",
    }
)
ACTIVATIONS = {"Softmax": "softmax", "Sigmoid": "sigmoid", "Relu": "relu"}
LAYERS = frozenset({"Addmm", "Mm", "Bmm", "Baddbmm", "Convolution"})
SCALINGS = frozenset({"Mul", "Div"})
MEANS = frozenset({"Mean", "Sum"})
DISTANCES = {"Pow": "mse_loss", "Abs": "l1_loss"}  # as they are written by hand, or by torch itself
PAIRED = {"MseLoss": "mse_loss", "SmoothL1Loss": "smooth_l1_loss", "HuberLoss": "huber_loss"}
REDUCED_BY_MEAN = 1


class Misfit(NamedTuple):
    """A loss and what it is given that does not fit it."""

    loss: str  # the function of torch.nn.functional
    input: str  # what was computed last: "softmax", "sigmoid", "relu", "layer"; "dimension", "broadcast"
    classes: int = 0  # of softmax
    shape: tuple[int, ...] = ()  # of the input, before it was broadcast
    to: tuple[int, ...] = ()


class LossGraph:
    """Looks at the first backward passes; thread-safe as far as backward() is called by one thread."""

    def __init__(self) -> None:
        self._looks = LOOKS
        self._told: set[tuple[str, str]] = set()
        self._classes: int | None = None

    def renew(self) -> None:
        """Another training may begin."""
        self._looks = LOOKS

    def look(self, session: RankSession, tensors: Any) -> None:
        """backward() is about to begin from `tensors`."""
        if self._looks == 0:
            return
        self._looks -= 1
        for tensor in tensors if isinstance(tensors, list | tuple) else (tensors,):
            root = tensor.grad_fn if isinstance(tensor, torch.Tensor) else None
            if root is not None:
                self._look_from(session, root)

    def _look_from(self, session: RankSession, root: Any) -> None:
        for misfit in misfits(root):
            if (misfit.loss, misfit.input) not in self._told:
                self._told.add((misfit.loss, misfit.input))
                session.meta("loss_input", **misfit._asdict(), step=session.native.global_step)
        classes = classes_guessed(root)
        # A loss of several terms, or of another number of classes, has no such level, or more than one.
        if classes != self._classes and (self._classes is not None or classes > 0):
            self._classes = 0 if self._classes is not None else classes
            session.meta("guess", classes=self._classes)


def misfits(root: Any) -> list[Misfit]:
    """What does not fit the losses that backward() starts from at `root`."""
    return [misfit for node in _losses(root) if (misfit := _misfit(node)) is not None]


def classes_guessed(root: Any) -> int:
    """Of how many classes `root` is the mean cross entropy, so that guessing gives their logarithm; 0: it is none.

    A GradScaler has scaled it, or gradients are gathered over several batches: the values that are
    recorded are of the loss before that, or of none that is at the level of guessing.
    """
    while _name(root) in SCALINGS:
        root = _child(root)
    if getattr(root, "_saved_reduction", None) != REDUCED_BY_MEAN:
        return 0
    if _name(root) in {"BinaryCrossEntropyWithLogits", "BinaryCrossEntropy"}:
        return 2
    softmax = _before(root) if _name(root) in {"NllLoss", "NllLoss2D"} else None
    return _classes_of(softmax) if softmax is not None and _name(softmax) == "LogSoftmax" else 0


def _losses(root: Any) -> Iterator[Any]:
    """The nodes that a sum of losses is made of, each once."""
    waiting, seen = deque([root]), {root}
    while waiting and len(seen) <= MOST_NODES:
        node = waiting.popleft()
        yield node
        if _name(node) not in SUMS:
            continue
        for child, _ in node.next_functions:
            if child is not None and child not in seen:
                seen.add(child)
                waiting.append(child)


def _misfit(loss: Any) -> Misfit | None:
    name = _name(loss)
    if name in {"NllLoss", "NllLoss2D"}:
        return _misfit_of_nll(loss)
    if name == "BinaryCrossEntropyWithLogits":
        activation = ACTIVATIONS.get(_name(_before(loss)))
        return Misfit("binary_cross_entropy_with_logits", activation) if activation else None
    if name in PAIRED:
        return _broadcast(PAIRED[name], _operand(loss))
    return _misfit_of_distance(loss) if name in MEANS else None


def _misfit_of_nll(loss: Any) -> Misfit | None:
    given = _before(loss)
    if _name(given) == "LogSoftmax":
        if given is _child(loss) and _dimension(given) != _class_dimension(_shape(given)):
            return Misfit("nll_loss", "dimension", shape=_shape(given))
        activation = ACTIVATIONS.get(_name(_before(given)))
        return Misfit("cross_entropy", activation, _classes_of(given)) if activation else None
    kind = "layer" if _name(given) in LAYERS else ACTIVATIONS.get(_name(given))
    return Misfit("nll_loss", kind) if kind else None


def _misfit_of_distance(mean: Any) -> Misfit | None:
    """Of mean(|a - b|) or mean((a - b) ** 2), where b has no gradient: it is the target."""
    distance = _child(mean)
    difference = _child(distance) if _name(distance) in DISTANCES else None
    if difference is None or _name(difference) != "Sub":
        return None
    operands = [child for child, _ in difference.next_functions if child is not None]
    if len(operands) != 1:
        return None
    loss = DISTANCES[_name(distance)]
    return _broadcast(loss, operands[0]) or _paired_with_each(loss, _shape(operands[0]), _shape(difference))


def _broadcast(loss: str, operand: Any) -> Misfit | None:
    if operand is None or _name(operand) != "Expand":
        return None
    return _paired_with_each(loss, tuple(operand._saved_self_sym_sizes), _shape(operand))


def _paired_with_each(loss: str, own: tuple[int, ...], result: tuple[int, ...]) -> Misfit | None:
    """Where n values were compared with n others, each with each."""
    n = result[-1] if result else 0
    is_square = n > 1 and len(result) >= 2 and result[-2] == n
    was_column = own[-2:] == (n, 1) or own == (n,)
    if not is_square or not was_column or math.prod(result) <= math.prod(own):
        return None
    return Misfit(loss, "broadcast", 0, own, result)


def _name(node: Any) -> str:
    return "" if node is None else re.sub(r"Backward\d*$", "", node.name())


def _child(node: Any) -> Any:
    return node.next_functions[0][0] if node is not None and node.next_functions else None


def _before(node: Any) -> Any:
    """What computed the first input of `node`, apart from changes of its shape or dtype."""
    child = _child(node)
    while _name(child) in SHAPES:
        child = _child(child)
    return child


def _operand(node: Any) -> Any:
    """The same, apart from changes of its dtype alone."""
    child = _child(node)
    while _name(child) == "ToCopy":
        child = _child(child)
    return child


def _shape(node: Any) -> tuple[int, ...]:
    metadata = getattr(node, "_input_metadata", None)  # of the results of the forward pass
    return tuple(int(size) for size in metadata[0].shape) if metadata else ()


def _classes_of(log_softmax: Any) -> int:
    shape = _shape(log_softmax)
    return shape[_class_dimension(shape)] if shape else 0


def _dimension(log_softmax: Any) -> int:
    """Along which it was taken; the node holds a negative one as 2**64 less."""
    dimension = int(log_softmax._saved_dim)
    return (dimension - 2**64 if dimension >= 2**63 else dimension) % max(1, len(_shape(log_softmax)))


def _class_dimension(shape: tuple[int, ...]) -> int:
    """Of what cross_entropy and nll_loss are given."""
    return 1 if len(shape) > 1 else 0
