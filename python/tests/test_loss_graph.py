"""What the graph of backward() tells of a loss: what it is given that does not fit it, and how many classes it has."""

import pytest
import torch
from models import Net
from torch import nn
from torch.nn import functional
from wheeltapper._fuse import FUSE
from wheeltapper.torch import loss_graph
from wheeltapper.torch.loss_graph import classes_guessed, misfits

N, CLASSES = 6, 5
FEATURES = torch.randn(N, 8)
LABELS = torch.randint(0, CLASSES, (N,))
TARGETS = torch.randn(N)


def scores():
    return nn.Linear(8, CLASSES)(FEATURES)


def column():
    return nn.Linear(8, 1)(FEATURES)


def images(activation=lambda x: x):
    return activation(nn.Conv2d(1, CLASSES, 1)(torch.randn(2, 1, 3, 3)))


class LogSoftmax(torch.autograd.Function):
    """A function of the job by the name of one of torch's."""

    @staticmethod
    def forward(_ctx, x):
        return x.log_softmax(1)

    @staticmethod
    def backward(_ctx, gradient):
        return gradient


class Relu(LogSoftmax):
    pass


def found(loss):
    return [(misfit.loss, misfit.input) for misfit in misfits(loss.grad_fn)]


UNFIT = {
    "softmax twice": (lambda: functional.cross_entropy(scores().softmax(1), LABELS), ("cross_entropy", "softmax")),
    "as a module": (
        lambda: nn.CrossEntropyLoss(label_smoothing=0.1)(nn.Softmax(1)(scores()), LABELS),
        ("cross_entropy", "softmax"),
    ),
    "sigmoid before": (lambda: functional.cross_entropy(scores().sigmoid(), LABELS), ("cross_entropy", "sigmoid")),
    "of images": (
        lambda: functional.cross_entropy(images(lambda x: x.softmax(1)), torch.randint(0, CLASSES, (2, 3, 3))),
        ("cross_entropy", "softmax"),
    ),
    "of a sequence": (
        lambda: functional.cross_entropy(scores().softmax(1).view(2, 3, CLASSES).transpose(1, 2), LABELS.view(2, 3)),
        ("cross_entropy", "softmax"),
    ),
    "one of two terms": (
        lambda: scores().square().mean() + 0.1 * functional.cross_entropy(scores().softmax(1), LABELS) / 4,
        ("cross_entropy", "softmax"),
    ),
    "sigmoid twice": (
        lambda: functional.binary_cross_entropy_with_logits(column().sigmoid(), torch.ones(N, 1)),
        ("binary_cross_entropy_with_logits", "sigmoid"),
    ),
    "relu before": (lambda: functional.cross_entropy(scores().relu(), LABELS), ("cross_entropy", "relu")),
    "other dimension": (lambda: functional.nll_loss(scores().log_softmax(0), LABELS), ("nll_loss", "dimension")),
    "other dimension of images": (
        lambda: functional.nll_loss(images(lambda x: x.log_softmax(-1)), torch.randint(0, CLASSES, (2, 3, 3))),
        ("nll_loss", "dimension"),
    ),
    "other dimension of a sequence": (
        lambda: functional.nll_loss(scores().view(2, 3, CLASSES).log_softmax(1).view(-1, CLASSES), LABELS),
        ("nll_loss", "dimension"),
    ),
    "other dimension of a sequence as it is": (
        lambda: functional.nll_loss(scores().view(2, 3, CLASSES).mT.log_softmax(-1), LABELS.view(2, 3)),
        ("nll_loss", "dimension"),
    ),
    "guarded": (
        lambda: functional.cross_entropy(scores().softmax(1).clamp(1e-7, 1), LABELS),
        ("cross_entropy", "softmax"),
    ),
    "with an epsilon": (
        lambda: functional.cross_entropy(scores().softmax(1) + 1e-8, LABELS),
        ("cross_entropy", "softmax"),
    ),
    "raw": (lambda: functional.nll_loss(scores(), LABELS), ("nll_loss", "layer")),
    "probabilities": (lambda: functional.nll_loss(scores().softmax(1), LABELS), ("nll_loss", "softmax")),
    "mse": (lambda: functional.mse_loss(column(), TARGETS), ("mse_loss", "broadcast")),
    "mse of a column of targets": (
        lambda: functional.mse_loss(column()[:, 0], TARGETS[:, None]),
        ("mse_loss", "broadcast"),
    ),
    "l1": (lambda: functional.l1_loss(column(), TARGETS), ("l1_loss", "broadcast")),
    "smooth l1": (lambda: functional.smooth_l1_loss(column(), TARGETS), ("smooth_l1_loss", "broadcast")),
    "huber": (lambda: functional.huber_loss(column(), TARGETS), ("huber_loss", "broadcast")),
}
FIT = {
    "logits": lambda: functional.cross_entropy(scores(), LABELS),
    "soft labels": lambda: functional.cross_entropy(scores(), torch.rand(N, CLASSES).softmax(1)),
    "one sample of log_softmax": lambda: functional.nll_loss(scores()[0].log_softmax(-1), LABELS[0]),
    "log_softmax of a sequence as it is": lambda: functional.nll_loss(
        scores().view(2, 3, CLASSES).mT.log_softmax(1), LABELS.view(2, 3)
    ),
    "log_softmax of a sequence in a row": lambda: functional.nll_loss(
        scores().view(2, 3, CLASSES).log_softmax(-1).view(-1, CLASSES), LABELS
    ),
    "a softmax and a skip": lambda: functional.cross_entropy(scores().softmax(1) + scores(), LABELS),
    "log_softmax along the last of two": lambda: functional.nll_loss(scores().log_softmax(-1), LABELS),
    "log_softmax of a sequence": lambda: functional.nll_loss(
        scores().view(2, 3, CLASSES).log_softmax(-1).transpose(1, 2), LABELS.view(2, 3)
    ),
    "log_softmax": lambda: functional.nll_loss(scores().log_softmax(1), LABELS),
    "log of probabilities": lambda: functional.nll_loss(scores().softmax(1).log(), LABELS),
    "binary": lambda: functional.binary_cross_entropy(column().sigmoid(), torch.ones(N, 1)),
    "binary logits": lambda: functional.binary_cross_entropy_with_logits(column(), torch.ones(N, 1)),
    "a softmax within": lambda: functional.cross_entropy(nn.Linear(CLASSES, CLASSES)(scores().softmax(1)), LABELS),
    "same shapes": lambda: functional.mse_loss(column(), TARGETS[:, None]),
    "one target for all": lambda: functional.mse_loss(scores(), torch.zeros(CLASSES)),
    "square by chance": lambda: functional.mse_loss(column(), torch.randn(N, N)),
    "a vector for all": lambda: functional.mse_loss(nn.Parameter(torch.zeros(N)), torch.randn(N, N)),
    "quantiles": lambda: functional.smooth_l1_loss(
        nn.Linear(8, 4)(torch.randn(4, 8)).unsqueeze(2), torch.randn(4, 1, 4), reduction="none"
    ).mean(),
    "each with each on purpose": lambda: functional.mse_loss(column()[:, 0].unsqueeze(1), TARGETS),
    "energy distance": lambda: torch.mean((column() - TARGETS[None, :]).abs()),
    "log-probabilities on a graph": lambda: functional.nll_loss(torch.eye(N) @ scores().log_softmax(1), LABELS),
    "log-probabilities of coarse classes": lambda: functional.nll_loss(
        scores().log_softmax(1) @ nn.Parameter(torch.eye(CLASSES)), LABELS
    ),
    "an ensemble": lambda: functional.nll_loss(
        torch.einsum("e,enc->nc", nn.Parameter(torch.ones(2)), torch.stack([scores().log_softmax(1)] * 2)), LABELS
    ),
    "functions of the job": lambda: functional.nll_loss(
        LogSoftmax.apply(functional.cross_entropy(Relu.apply(scores()), LABELS, reduction="none")[:, None] - scores()),
        LABELS,
    ),
    "one sample": lambda: functional.mse_loss(column()[:1], TARGETS[:1]),
    "all pairs": lambda: torch.mean((column() - column()[:, 0]) ** 2),
    "by hand": lambda: torch.mean((column()[:, 0] - TARGETS) ** 2),
    "entropy": lambda: torch.sum(scores().softmax(1) * scores().log_softmax(1)),
    "a leaf": lambda: nn.Parameter(torch.zeros(())) * 1,
}


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("case", UNFIT)
def test_what_does_not_fit_a_loss_is_found(case):
    make, expected = UNFIT[case]
    assert found(make()) == [expected]


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("case", FIT)
def test_what_fits_is_not(case):
    assert found(FIT[case]()) == []


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_under_autocast_it_is_found_too():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert found(functional.cross_entropy(scores().softmax(1), LABELS)) == [("cross_entropy", "softmax")]
        assert found(functional.mse_loss(column(), TARGETS)) == [("mse_loss", "broadcast")]


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_shapes_are_told():
    (misfit,) = misfits(functional.mse_loss(column(), TARGETS).grad_fn)
    assert (misfit.shape, misfit.to) == ((N, 1), (N, N))


@pytest.mark.parametrize(
    ("loss", "classes"),
    [
        (lambda: functional.cross_entropy(scores(), LABELS), CLASSES),
        (lambda: functional.nll_loss(scores().view(2, 3, CLASSES).log_softmax(-1).view(-1, CLASSES), LABELS), CLASSES),
        (
            lambda: functional.nll_loss(
                scores().view(2, 3, CLASSES).log_softmax(-1).transpose(1, 2), LABELS.view(2, 3)
            ),
            CLASSES,
        ),
        (
            lambda: functional.nll_loss(
                images().permute(0, 2, 3, 1).log_softmax(-1).permute(0, 3, 1, 2), torch.zeros(2, 3, 3, dtype=torch.long)
            ),
            CLASSES,
        ),
        (lambda: 1024 * functional.cross_entropy(scores(), LABELS), 0),
        (lambda: functional.nll_loss(scores().log_softmax(0), LABELS), 0),
        (lambda: functional.cross_entropy(scores()[:, :2], LABELS % 2), 0),
        (lambda: functional.cross_entropy(images(), torch.randint(0, CLASSES, (2, 3, 3))), CLASSES),
        (lambda: functional.cross_entropy(scores()[0], LABELS[0]), CLASSES),
        (lambda: functional.binary_cross_entropy_with_logits(column(), torch.ones(N, 1)), 0),
        (lambda: functional.cross_entropy(scores(), LABELS, reduction="sum"), 0),
        (lambda: functional.cross_entropy(scores(), LABELS) + column().square().mean(), 0),
        (lambda: functional.mse_loss(column(), TARGETS[:, None]), 0),
    ],
)
def test_the_classes_of_a_cross_entropy_are_known(loss, classes):
    assert classes_guessed(loss().grad_fn) == classes


def metas(trial, kind):
    return [meta for meta in trial.metas() if meta["kind"] == kind]


def trained(loss_of, steps=5):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(model(torch.randn(4, 8)), step).backward()
        optimizer.step()


def labels_for(output):
    return torch.zeros(len(output), dtype=torch.long)


def test_a_run_tells_each_once(job):
    trial = job(lambda: trained(lambda out, _: functional.cross_entropy(out.softmax(1), labels_for(out))))
    (told,) = metas(trial, "loss_input")
    assert (told["loss"], told["input"], told["step"]) == ("cross_entropy", "softmax", 0)
    assert told["classes"] > 1
    assert metas(trial, "guess") == []


def test_a_loss_that_gets_another_term_has_no_level_of_guessing(job):
    def loss_of(out, step):
        loss = functional.cross_entropy(out, labels_for(out))
        return loss if step < 3 else loss + out.square().mean()

    trial = job(lambda: trained(loss_of))
    assert [meta["classes"] > 0 for meta in metas(trial, "guess")] == [True, False]
    assert metas(trial, "loss_input") == []


def test_another_training_is_told_anew(job):
    def loop():
        trained(lambda out, _: functional.cross_entropy(out.softmax(1), labels_for(out)))
        trained(lambda out, _: functional.cross_entropy(out, labels_for(out)))

    trial = job(loop)
    kinds = [meta["kind"] for meta in trial.metas() if meta["kind"] in {"loss_input", "guess", "loss_anew"}]
    assert kinds == ["loss_input", "loss_anew", "guess"]


def test_a_term_that_comes_late_is_seen(job):
    def loss_of(out, step):
        loss = functional.cross_entropy(out, labels_for(out))
        return loss if step < 20 else loss + out.square().mean()

    trial = job(lambda: trained(loss_of, steps=150))
    assert [meta["classes"] for meta in metas(trial, "guess")] == [3, 0]


def test_a_scaled_loss_is_that_before_scaling(job):
    def loop():
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu")
        for _ in range(3):
            out = model(torch.randn(4, 8))
            optimizer.zero_grad()
            scaler.scale(functional.cross_entropy(out, labels_for(out))).backward()
            scaler.step(optimizer)
            scaler.update()

    assert [meta["classes"] for meta in metas(job(loop), "guess")] == [3]


def test_a_graph_that_cannot_be_read_costs_one_error_and_no_loss(job, monkeypatch):
    def fails(_root):
        raise AttributeError("not as expected")

    def loop():
        FUSE.strict = False
        trained(lambda out, _: functional.cross_entropy(out, labels_for(out)), steps=20)
        assert FUSE.errors == 1

    monkeypatch.setattr(loss_graph, "misfits", fails)
    assert job(loop).scalars("loss/backward").step.tolist() == list(range(20))


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_nothing_is_unpacked_that_the_job_has_offloaded():
    unpacked = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: unpacked.append(1) or tensor):
        losses = [make() for make in FIT.values()] + [functional.cross_entropy(scores().softmax(1), LABELS)]
    for loss in losses:
        misfits(loss.grad_fn)
        classes_guessed(loss.grad_fn)
    assert unpacked == []
