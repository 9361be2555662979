"""What is recorded of a PyTorch job, held against what torch itself says."""

import json
import math

import numpy as np
import pytest
import torch
import wheeltapper
from models import Net, batch, l2, train
from torch import nn


def test_gradients_weights_and_state_are_those_of_torch(job, tmp_path):
    expected = {}

    def loop():
        torch.manual_seed(0)
        model = Net()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for step in range(3):
            optimizer.zero_grad()
            x, y = batch(seed=step)
            nn.functional.cross_entropy(model(x), y).backward()
            before = {name: p.detach().clone() for name, p in model.named_parameters()}
            for name, p in model.named_parameters():
                expected[f"gradient/{name}", step] = p.grad.norm().item()
            optimizer.step()
            for name, p in model.named_parameters():
                expected[name, step] = p.detach().norm().item()
                expected[f"update/{name}", step] = (p.detach() - before[name]).norm().item()
                for key in ("exp_avg", "exp_avg_sq"):
                    expected[f"optimizer/{name}/{key}", step] = optimizer.state[p][key].norm().item()
        (tmp_path / "expected.json").write_text(json.dumps([[*key, value] for key, value in expected.items()]))

    trial = job(loop)
    rows = json.loads((tmp_path / "expected.json").read_text())
    assert len(rows) == 3 * 4 * 5
    for name, step, value in rows:
        assert l2(trial, name, step) == pytest.approx(value, rel=1e-5), name
    assert trial.steps() == [0, 1, 2]
    assert trial.state == "abandoned"  # nobody is alive, and END is the watcher's to write


def test_parameters_that_replace_as_many_others_are_followed(job):
    def loop():
        model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 1, bias=False))
        optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
        for step in range(4):
            if step == 2:
                optimizer.param_groups[0]["params"] = list(model[1].parameters())
            model(torch.ones(2, 4)).sum().backward()
            optimizer.step()

    trial = job(loop)
    assert trial.tensor("update/0.weight").steps() == [0, 1]
    assert trial.tensor("update/1.weight").steps() == [2, 3]
    assert trial.tensor("0.weight").steps() == [0, 1, 2, 3]  # no optimizer has it any more
    assert trial.tensor("1.weight").steps() == [1, 2, 3]


def test_the_overhead_shown_counts_the_time_in_hooks(job):
    def loop():
        model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(100)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(10):
            model(torch.ones(2, 8)).sum().backward()
            optimizer.step()

    # 200 parameters in Python hooks: several microseconds each step that the native part does not see itself.
    times = job(loop).step_times()
    assert min(times["blocked_ns"]) > 50_000


def test_updates_keep_their_sign(job):
    def loop():
        model = nn.Linear(4, 1, bias=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        model.weight.grad = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
        optimizer.step()

    trial = job(loop)
    update = trial.tensor("update/weight")
    assert update.reduction_value(0, "min") == pytest.approx(-4.0, rel=1e-6)
    assert update.reduction_value(0, "max") == pytest.approx(-1.0, rel=1e-6)
    assert update.collections == ["updates"] or "updates" in update.collections


def test_gradients_are_read_after_accumulation(job, tmp_path):
    def loop():
        torch.manual_seed(0)
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for micro in range(4):
            x, y = batch(seed=micro)
            nn.functional.cross_entropy(model(x), y).backward()
        norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()
        (tmp_path / "norm").write_text(str(norm))
        optimizer.step()

    trial = job(loop)
    norm = float((tmp_path / "norm").read_text())
    assert trial.scalars("gradient_norm").value.tolist() == [pytest.approx(norm, rel=1e-5)]
    assert trial.steps() == [0]
    # The activation of one micro-batch, not of four.
    assert len(trial.tensor("output/first").reduction_values("numel")) == 1


def test_closures_are_captured_after_the_step(job, tmp_path):
    def loop():
        torch.manual_seed(0)
        model = Net()
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
        x, y = batch()

        def closure():
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            return loss

        norms = []
        for _ in range(3):
            optimizer.step(closure)
            norms.append(model.first.weight.grad.norm().item())
        (tmp_path / "norms").write_text(json.dumps(norms))

    trial = job(loop)
    norms = json.loads((tmp_path / "norms").read_text())
    assert trial.steps() == [0, 1, 2]
    found = trial.tensor("gradient/first.weight").reduction_values("l2").value
    assert found.tolist() == pytest.approx(norms, rel=1e-5)


def test_lightning_style_step_with_forward_and_clipping_inside(job):
    def loop():
        model = Net()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        for step in range(2):

            def closure(step=step):
                optimizer.zero_grad()
                x, y = batch(seed=step)
                loss = 100 * nn.functional.cross_entropy(model(x), y)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                return loss

            optimizer.step(closure)

    trial = job(loop)
    assert trial.scalars("gradient_norm").value.tolist() == pytest.approx([0.5, 0.5], rel=1e-3)
    assert trial.steps() == [0, 1]


def test_tied_parameters_once_and_frozen_ones_known(job):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(5, 4)
            self.frozen = nn.Linear(4, 4)
            self.head = nn.Linear(4, 5, bias=False)
            self.head.weight = self.embed.weight
            self.frozen.requires_grad_(False)

        def forward(self, x):
            return self.head(self.frozen(self.embed(x)))

    def loop():
        model = Tied()
        optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1)
        model(torch.tensor([0, 1])).sum().backward()
        optimizer.step()

    trial = job(loop)
    assert trial.tensor_names(collection="gradients") == ["gradient/embed.weight"]
    model = next(meta for meta in trial.metas() if meta["kind"] == "model")
    assert [p["name"] for p in model["parameters"]] == ["embed.weight", "frozen.weight", "frozen.bias"]
    assert [p["requires_grad"] for p in model["parameters"]] == [True, False, False]
    modules = {m["path"]: m for m in model["modules"]}
    assert modules["head"]["parameters"] == ["embed.weight"]
    optimizer = next(meta for meta in trial.metas() if meta["kind"] == "optimizer")
    assert optimizer["parameters"] == ["embed.weight"]
    assert optimizer["defaults"]["lr"] == 0.1


def test_two_models_and_two_optimizers_count_one_step_per_iteration(job):
    class Generator(Net):
        pass

    class Discriminator(Net):
        pass

    def loop():
        generator, discriminator = Generator(), Discriminator()
        of_d = torch.optim.SGD(discriminator.parameters(), lr=0.1)
        of_g = torch.optim.SGD(generator.parameters(), lr=0.2)
        for step in range(4):
            train_on = batch(seed=step)[0]
            of_d.zero_grad()
            discriminator(train_on).sum().backward()
            of_d.step()
            of_g.zero_grad()
            generator(train_on).mean().backward()
            of_g.step()

    trial = job(loop)
    assert trial.steps() == [0, 1, 2, 3]
    names = trial.tensor_names(collection="gradients")
    assert "gradient/first.weight" in names
    assert "gradient/Generator.first.weight" in names
    for name in ("gradient/first.weight", "gradient/Generator.first.weight"):
        assert trial.tensor(name).steps() == [0, 1, 2, 3]
    assert trial.scalars("learning_rate").value.tolist() == [0.1] * 4
    assert trial.scalars("learning_rate.Generator").value.tolist() == [0.2] * 4
    assert len(trial.scalars("loss/backward.Generator")) == 4


def test_an_optimizer_per_parameter_counts_backward_passes(job):
    def loop():
        model = Net()
        optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in model.parameters()}
        for p in model.parameters():

            def hook(p):
                optimizers[p].step()
                optimizers[p].zero_grad()

            p.register_post_accumulate_grad_hook(hook)
        for step in range(4):
            x, y = batch(seed=step)
            nn.functional.cross_entropy(model(x), y).backward()

    trial = job(loop)
    assert trial.steps() == [0, 1, 2, 3]
    assert trial.tensor("gradient/first.weight").steps() == [0, 1, 2, 3]


def test_wrappers_leave_no_trace_in_names(job, tmp_path):
    def loop():
        torch.distributed.init_process_group(
            "gloo", store=torch.distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
        )
        model = Net()
        wrapped = torch.compile(nn.parallel.DistributedDataParallel(model), backend="eager")
        train(wrapped, torch.optim.SGD(wrapped.parameters(), lr=0.1), 1)
        torch.distributed.destroy_process_group()

    trial = job(loop)
    assert trial.tensor_names(collection="gradients") == [
        f"gradient/{layer}.{kind}" for layer in ("first", "last") for kind in ("bias", "weight")
    ]


def test_checkpointed_blocks_count_once(job):
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(Net):
        def forward(self, x):
            return self.last(checkpoint(lambda y: self.relu(self.first(y)), x, use_reentrant=False))

    def loop():
        model = Checkpointed()
        train(model, torch.optim.SGD(model.parameters(), lr=0.1), 2)

    assert len(job(loop).tensor("output/first").reduction_values("l2")) == 2


def test_odd_tensors_are_measured_or_noted_and_never_crash(job):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.sparse = nn.Embedding(6, 4, sparse=True)
            self.empty = nn.Parameter(torch.zeros(0, 3))
            self.complex = nn.Parameter(torch.tensor([3 + 4j, 0]))
            self.strided = nn.Parameter(torch.arange(12.0).reshape(3, 4).t())
            self.scalar = nn.Parameter(torch.tensor(2.0))
            self.bf16 = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))

        def forward(self, x):
            total = self.sparse(x).sum() + self.strided.sum() + self.scalar + self.bf16.sum().float()
            return total + (self.complex * self.complex.conj()).real.sum() + self.empty.sum()

    def loop():
        model = Odd()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.tensor([1, 1, 4])).backward()
            optimizer.step()
        wheeltapper.save_tensor("mine/meta", torch.empty(3, device="meta"))
        wheeltapper.save_tensor("mine/quantized", torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8))
        wheeltapper.save_tensor("mine/array", np.arange(6, dtype=np.int16).reshape(2, 3).T)
        train(Net(), torch.optim.SGD(Net().parameters(), lr=0.1), 0)
        wheeltapper.step(mode="eval")

    trial = job(loop)
    sparse = trial.tensor("gradient/sparse.weight")
    assert sparse.reduction_value(0, "numel") == 8  # two rows, coalesced
    assert sparse.reduction_value(0, "sum") == 12.0
    assert trial.tensor("gradient/empty").reduction_value(0, "numel") == 0
    assert trial.tensor("complex").reduction_value(0, "l2") == pytest.approx(5.0)
    assert trial.tensor("strided").reduction_value(0, "sum") == 66.0
    assert trial.tensor("scalar").reduction_value(0, "mean") == 2.0
    assert trial.tensor("bf16").reduction_value(0, "l1") == 4.0
    assert trial.tensor("mine/array").reduction_values("sum").value.tolist() == [15.0]
    assert [(gap["reason"], gap["tensors_dropped"]) for gap in trial.gaps()] == [("unsupported", 2)]


def test_nonfinite_gradients_are_shown(job):
    def loop():
        model = nn.Linear(2, 1, bias=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model.weight.grad = torch.tensor([[math.nan, math.inf]])
        optimizer.step()

    trial = job(loop)
    gradient = trial.tensor("gradient/weight")
    assert gradient.reduction_value(0, "nan_count") == 1
    assert gradient.reduction_value(0, "posinf_count") == 1
    assert trial.tensor_names(regex="gradient_norm", kind="scalar") == []


def test_dtensors_are_measured_by_their_local_shard(job, tmp_path):
    def loop():
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        torch.distributed.init_process_group(
            "gloo", store=torch.distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
        )
        model = Net()
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        train(model, optimizer, 2)
        norm = model.first.weight.grad._local_tensor.norm().item()
        (tmp_path / "norm").write_text(str(norm))
        torch.distributed.destroy_process_group()

    trial = job(loop)
    assert l2(trial, "gradient/first.weight", 1) == pytest.approx(float((tmp_path / "norm").read_text()), rel=1e-5)
    # FSDP2 puts a sharded module into a class of its own making, which is a wrapper like any other.
    assert "output/Net" in trial.tensor_names(kind="")
    (model,) = [meta for meta in trial.metas() if meta["kind"] == "model"]
    assert (model["name"], model["modules"][0]["type"]) == ("Net", "Net")


def test_parameters_outside_modules_get_names(job):
    def loop():
        weight = torch.ones(3, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=0.1)
        weight.sum().backward()
        optimizer.step()

    assert job(loop).tensor_names(collection="gradients") == ["gradient/parameter.0.0"]


def test_a_deleted_model_is_not_kept_alive(job):
    def loop():
        import gc
        import weakref

        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        train(model, optimizer, 2)
        gone = [weakref.ref(model), weakref.ref(model.first.weight), weakref.ref(optimizer)]
        del model, optimizer
        gc.collect()
        assert [ref() for ref in gone] == [None, None, None]

    job(loop)


def test_attach_by_hand_without_a_watcher(tmp_path):
    from conftest import in_child

    def loop():
        import os

        del os.environ["WHEELTAPPER_RUN_DIR"]
        os.chdir(tmp_path)
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        wheeltapper.attach(model, optimizer)
        wheeltapper.attach(model, optimizer)
        train(model, optimizer, 3)

    assert in_child(loop, tmp_path, install=False) == 0
    (run_dir,) = [path for path in (tmp_path / "wheeltapper-runs").iterdir() if path.is_dir()]
    trial = wheeltapper.open(run_dir)
    assert (tmp_path / "wheeltapper-runs" / ".gitignore").read_text() == "*\n"
    assert trial.steps() == [0, 1, 2]
    assert "gradient/first.weight" in trial.tensor_names()


@pytest.mark.parametrize("resumed", [False, True])
def test_the_step_at_which_an_optimizer_is_new_is_told(job, resumed):
    def loop():
        model = Net()
        optimizer = torch.optim.Adam(model.parameters())
        if resumed:
            other = torch.optim.Adam(model.parameters())
            for parameter in model.parameters():
                other.state[parameter] = {"step": torch.tensor(9.0), "exp_avg": torch.zeros_like(parameter)}
                other.state[parameter]["exp_avg_sq"] = torch.zeros_like(parameter)
            optimizer.load_state_dict(other.state_dict())
        train(model, optimizer, 2)

    told = [meta.get("new_at") for meta in job(loop).metas() if meta["kind"] == "optimizer"]
    assert told == [None if resumed else 0]
