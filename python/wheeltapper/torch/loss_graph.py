"""What a loss is computed from, as the autograd graph shows it when backward() begins.

A softmax before `cross_entropy`, which takes its own, and the like train silently and badly. The
graph tells them on any device and for functions as for modules, and no value is read. What was
compiled as a whole, loss and all, is one node of it and says nothing.

Nothing is said that the graph does not prove: who compares quantiles with each target, multiplies
log-probabilities by a matrix or writes a broadcast down means it.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wheeltapper._session import RankSession

LOOKS = 8  # backward passes looked at, after each optimizer that was made
THEN_EVERY = 64  # of those that follow: a loss may get another term
MOST_NODES = 64  # of a sum of losses
NEAR = 16  # nodes before a product that are looked at
FEWEST_CLASSES = 3
REDUCED_BY_MEAN = 1

# Names of torch's autograd nodes without "Backward0".
SUMS = frozenset({"Add", "Sub", "Mul", "Div", "Neg", "Sum", "Mean", "ToCopy", "Stack", "Cat", "View", "Squeeze"})
VIEWS = frozenset({"View", "UnsafeView", "ReshapeAlias"})
RESHAPED = VIEWS | {"Permute", "Transpose", "T", "Squeeze", "Unsqueeze"}
COPIES = frozenset({"ToCopy"})
SHAPES = RESHAPED | COPIES | {"Select", "Slice", "Index", "Clone", "Alias"}
# What keeps a value from zero before a logarithm that is not there.
GUARDS = frozenset({"Clamp", "ClampMin", "ClampMax"})
ACTIVATIONS = {"Softmax": "softmax", "Sigmoid": "sigmoid", "Hardsigmoid": "sigmoid", "Relu": "relu"}
LAYERS = frozenset({"Addmm", "Mm", "Bmm", "Baddbmm", "Convolution"})
NLL = frozenset({"NllLoss", "NllLoss2D"})
PAIRED = {"MseLoss": "mse_loss", "SmoothL1Loss": "smooth_l1_loss", "HuberLoss": "huber_loss"}
FULL_REDUCTIONS = frozenset({"MeanBackward0", "SumBackward0"})


class Misfit(NamedTuple):
    """A loss and what it is given that does not fit it."""

    loss: str  # the function of torch.nn.functional
    input: str  # what was computed last: "softmax", "sigmoid", "relu", "layer"; or "dimension", "broadcast"
    classes: int = 0  # of softmax
    shape: tuple[int, ...] = ()  # of the input, before it was broadcast
    to: tuple[int, ...] = ()


class LossGraph:
    """Looks at the first backward passes of a training, and at some of the others. Not thread-safe."""

    def __init__(self) -> None:
        self._passes = 0  # since an optimizer was made
        self._told: set[tuple[str, str]] = set()
        self._classes: int | None = None  # 0: of several losses, so that none has a level of guessing
        self._broken = False

    def renew(self) -> None:
        """Another training may begin."""
        self._passes = 0

    def look(self, session: RankSession, tensors: Any, *, scaled: bool) -> None:
        """backward() is about to begin from `tensors`; `scaled`: a GradScaler made them."""
        self._passes += 1
        if self._broken or (self._passes > LOOKS and self._passes % THEN_EVERY != 0):
            return
        if self._passes == 1 and (self._told or self._classes is not None):
            self._told.clear()
            self._classes = None
            session.meta("loss_anew")
        try:
            for tensor in tensors if isinstance(tensors, list | tuple) else (tensors,):
                root = tensor.grad_fn if isinstance(tensor, torch.Tensor) else None
                if root is not None:
                    self._look_from(session, root, scaled=scaled)
        except Exception:
            self._broken = True  # a graph that is not as expected costs one error, and nothing else
            raise

    def _look_from(self, session: RankSession, root: Any, *, scaled: bool) -> None:
        for misfit in misfits(root):
            if (misfit.loss, misfit.input) not in self._told:
                self._told.add((misfit.loss, misfit.input))
                session.meta("loss_input", **misfit._asdict(), step=session.native.global_step)
        if self._classes == 0:
            return
        classes = classes_guessed(_child(root) if scaled and _name(root) == "Mul" else root)
        if self._classes is None and classes > 0:
            self._classes = classes
            session.meta("guess", classes=classes)
        elif self._classes is not None and classes != self._classes:
            self._classes = 0
            session.meta("guess", classes=0)


def misfits(root: Any) -> list[Misfit]:
    """What does not fit the losses that backward() starts from at `root`."""
    losses = _walk(root, MOST_NODES, SUMS)
    return [misfit for node in losses if (misfit := _misfit(node)) is not None]


def classes_guessed(root: Any) -> int:
    """Of how many classes `root` is the mean cross entropy, so that guessing gives their logarithm; 0: it is none.

    Also 0 of two: of what can hardly be told, as a click or a price, a good model is near that level.
    """
    if _name(root) not in NLL or root._saved_reduction != REDUCED_BY_MEAN or _misfit_of_nll(root):
        return 0
    given = _before(root)
    classes = _classes_of(given) if _name(given) == "LogSoftmax" else 0
    return classes if classes >= FEWEST_CLASSES else 0


def _walk(root: Any, most: int, through: frozenset[str] | None = None) -> Iterator[Any]:
    """`root` and what it is computed from, nearest first, each once; through nodes of these names alone."""
    waiting, seen = deque([root]), {root}
    while waiting:
        node = waiting.popleft()
        yield node
        if through is not None and _name(node) not in through:
            continue
        for child in _children(node):
            if child not in seen and len(seen) < most:
                seen.add(child)
                waiting.append(child)


def _misfit(loss: Any) -> Misfit | None:
    name = _name(loss)
    if name in NLL:
        return _misfit_of_nll(loss)
    if name == "BinaryCrossEntropyWithLogits":
        activation = _activation_before(loss)
        return Misfit("binary_cross_entropy_with_logits", activation) if activation else None
    if name in PAIRED:
        return _broadcast(PAIRED[name], _child(loss)) if _has_broadcast_target(loss) else None
    return _misfit_of_l1(loss)


def _misfit_of_nll(loss: Any) -> Misfit | None:
    given = _before(loss)
    if _name(given) != "LogSoftmax":
        kind = "layer" if _is_layer(given) else _activation_before(loss)
        return Misfit("nll_loss", kind) if kind else None
    classes = _dimension_of_classes(loss, given)
    if classes is not None and _dimension(given) != classes:
        return Misfit("nll_loss", "dimension", shape=_shape(given))
    activation = _activation_before(given)
    return Misfit("cross_entropy", activation, _classes_of(given)) if activation else None


def _activation_before(node: Any) -> str | None:
    """What squashed or clipped the first input of `node`, perhaps guarded: clamp(1e-7), or + 1e-8."""
    given = _before(node)
    while _name(given) in GUARDS or (_name(given) == "Add" and len(_children(given)) == 1):
        given = _before(given)
    return ACTIVATIONS.get(_name(given))


def _dimension_of_classes(loss: Any, log_softmax: Any) -> int | None:
    """Of the input of nll_loss, 1 or 0 of a single sample, as it was before a change of its shape; None: not known."""
    given, shape = _child(loss), _shape(log_softmax)
    if given is log_softmax:
        return 1 if len(shape) > 1 else 0
    if _name(given) not in VIEWS or _child(given) is not log_softmax:
        return None
    view = _shape(given)
    if len(view) == len("nc") and view[1] == shape[-1] and len(shape) > len(view):
        return len(shape) - 1  # the samples of a sequence or an image in one row
    is_sequence = len(view) == len("nc1l") and view[2] == 1 and len(shape) == len("ncl")
    return 1 if is_sequence and (view[0], view[1], view[3]) == shape else None


def _is_layer(node: Any) -> bool:
    """A product with parameters, and not of log-probabilities, as of an ensemble or on a graph."""
    if _name(node) not in LAYERS:
        return False
    operands = [_past(child, SHAPES) for child in _children(node)]
    has_parameters = any(operand.name().endswith("::AccumulateGrad") for operand in operands)
    return has_parameters and all(_name(near) != "LogSoftmax" for near in _walk(node, NEAR))


def _misfit_of_l1(loss: Any) -> Misfit | None:
    """l1_loss is made of several operations: mean(|a - b|), where b has no gradient: it is the target."""
    distance = _child(loss) if loss.name() in FULL_REDUCTIONS else None
    difference = _child(distance) if _name(distance) == "Abs" else None
    operands = _children(difference) if _name(difference) == "Sub" else []
    return _broadcast("l1_loss", operands[0]) if len(operands) == 1 else None


def _has_broadcast_target(loss: Any) -> bool:
    """It has not where its own shape is that of the result."""
    saved = getattr(loss, "_raw_saved_target", None)
    if saved is None or getattr(saved, "unpack_hook", True) is not None:
        return False  # offloaded, or of a torch that cannot tell
    target = saved.data
    return any(stride == 0 and size > 1 for stride, size in zip(target.stride(), target.shape, strict=True))


def _broadcast(loss: str, operand: Any) -> Misfit | None:
    """Where n predictions became n by n, and nobody wrote that down."""
    operand = _past(operand, COPIES)
    if _name(operand) != "Expand" or _name(_child(operand)) in {"Unsqueeze", "Expand"}:
        return None
    own = tuple(int(size) for size in operand._saved_self_sym_sizes)
    to = _shape(operand)
    is_square = len(to) == len("nn") and to[0] == to[1] > 1
    return Misfit(loss, "broadcast", 0, own, to) if is_square and own in {(to[0], 1), (to[0],)} else None


def _name(node: Any) -> str:
    """Of one of torch's own nodes; "" of a function of the job, whose name ends without a number."""
    match = None if node is None else re.fullmatch(r"(\w+)Backward\d+", node.name())
    return match.group(1) if match else ""


def _children(node: Any) -> list[Any]:
    return [child for child, _ in node.next_functions if child is not None]


def _child(node: Any) -> Any:
    return node.next_functions[0][0] if node is not None and node.next_functions else None


def _before(node: Any) -> Any:
    """What computed the first input of `node`, apart from changes of its shape or dtype."""
    return _past(_child(node), SHAPES)


def _past(node: Any, names: frozenset[str]) -> Any:
    while _name(node) in names:
        node = _child(node)
    return node


def _shape(node: Any) -> tuple[int, ...]:
    metadata = getattr(node, "_input_metadata", None)  # of the results of the forward pass
    return tuple(int(size) for size in metadata[0].shape) if metadata else ()


def _classes_of(log_softmax: Any) -> int:
    shape = _shape(log_softmax)
    return shape[_dimension(log_softmax)] if shape else 0


def _dimension(log_softmax: Any) -> int:
    """Along which it was taken; the node holds a negative one as 2**64 less."""
    dimension = int(log_softmax._saved_dim)
    return (dimension - 2**64 if dimension >= 2**63 else dimension) % max(1, len(_shape(log_softmax)))
