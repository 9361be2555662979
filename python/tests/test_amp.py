"""GradScaler on the CPU: plain and fused, steps that are skipped."""

import json

import pytest
import torch
from models import Net, batch
from torch import nn
from wheeltapper.torch.amp import ScalerWatch


def amp_loop(optimizer_type, out, *, bad_step=None, **options):
    def loop():
        torch.manual_seed(0)
        model = Net()
        optimizer = optimizer_type(model.parameters(), lr=0.01, **options)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1000)
        seen = {"norms": [], "losses": []}
        for step in range(4):
            optimizer.zero_grad()
            x, y = batch(seed=step)
            loss = nn.functional.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            if step == bad_step:
                model.first.bias.grad[0] = float("inf")
            else:
                norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()
                seen["norms"].append(norm / scaler.get_scale())
                seen["losses"].append(loss.item())
            scaler.step(optimizer)
            scaler.update()
        out.write_text(json.dumps(seen))

    return loop


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [(torch.optim.SGD, {}), (torch.optim.AdamW, {}), (torch.optim.AdamW, {"fused": True})],
    ids=["plain sgd", "plain adamw", "fused adamw"],
)
@pytest.mark.parametrize("bad_step", [None, 1])
def test_gradients_and_losses_are_unscaled_and_skipped_steps_counted(job, tmp_path, optimizer, options, bad_step):
    trial = job(amp_loop(optimizer, tmp_path / "seen", bad_step=bad_step, **options))
    seen = json.loads((tmp_path / "seen").read_text())
    steps = len(seen["norms"])
    assert trial.steps() == list(range(steps))
    assert trial.scalars("gradient_norm").value.tolist() == pytest.approx(seen["norms"], rel=1e-4)
    assert trial.scalars("loss/backward").value.tolist() == pytest.approx(seen["losses"], rel=1e-6)
    assert trial.tensor_names(collection="losses", kind="") == ["loss/backward"]  # a scale is no loss
    scale = trial.scalars("amp/loss_scale")
    recorded = sorted(zip(scale.step.tolist(), scale.value.tolist(), strict=True))
    # A skip is noted at the step that it did not become; the scaler halves the scale after it.
    kept = [(step, 1024.0 if bad_step is None or step < bad_step else 512.0) for step in range(steps)]
    assert recorded == sorted(kept + ([] if bad_step is None else [(bad_step, 1024.0)]))
    skipped = trial.scalars("amp/skipped_steps").value
    assert skipped[-1] == (0 if bad_step is None else 1)


def test_a_scale_that_lies_on_a_device_is_not_read_and_skips_are_counted_all_the_same():
    class DeviceScaler:
        _scale = torch.empty(1, device="meta")  # reading it would wait for the device

        def is_enabled(self):
            return True

    watch = ScalerWatch()
    assert watch.scalars() == {}
    watch.before_step(DeviceScaler(), 3)
    assert not watch.after_step(DeviceScaler(), 4)
    watch.before_step(DeviceScaler(), 4)
    assert watch.after_step(DeviceScaler(), 4)
    assert watch.loss_scale is None
    assert watch.scalars() == {"amp/skipped_steps": 0.0}
