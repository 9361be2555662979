"""Small trainings, sound and broken, by name: each is run behind PRELUDE."""

PRELUDE = """
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
inputs = torch.randn(512, 10)
labels = (inputs @ torch.randn(10, 3)).argmax(1)
model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 3))
criterion = nn.CrossEntropyLoss()


def batch(step):
    rows = torch.arange(step * 32, step * 32 + 32) % 512
    return inputs[rows], labels[rows]


def loss_of(step, *, head=nn.Identity()):
    x, y = batch(step)
    return criterion(head(model(x)), y)

"""

SCRIPTS = {
    "no_backward": """
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(150):
    optimizer.zero_grad()
    loss_of(step)
    optimizer.step()
""",
    "cleared": """
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(60):
    loss_of(step).backward()
    optimizer.zero_grad()
    optimizer.step()
""",
    "idle_optimizer": """
head = nn.Linear(3, 3)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
forgotten = torch.optim.Adam(head.parameters(), lr=1e-2)
for step in range(60):
    optimizer.zero_grad()
    forgotten.zero_grad()
    loss_of(step, head=head).backward()
    optimizer.step()
""",
    "no_step": """
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(150):
    optimizer.zero_grad()
    loss_of(step).backward()
""",
    "detached": """
head = nn.Linear(3, 3)
optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=1e-2)
for step in range(60):
    x, y = batch(step)
    optimizer.zero_grad()
    criterion(head(model(x).detach()), y).backward()
    optimizer.step()
""",
    "squashed": """
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(150):
    optimizer.zero_grad()
    loss_of(step, head=nn.Softmax(1)).backward()
    optimizer.step()
""",
    "column": """
head = nn.Linear(3, 1)
optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=1e-2)
for step in range(150):
    x, y = batch(step)
    optimizer.zero_grad()
    nn.functional.mse_loss(head(model(x)), y.float()).backward()
    optimizer.step()
""",
    "guessing": """
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
with torch.no_grad():
    model[2].bias += torch.tensor([2.0, 0.0, -2.0])  # a bad guess, which is all that it can unlearn
for step in range(600):
    optimizer.zero_grad()
    criterion(model(torch.randn(510, 10)), torch.arange(510) % 3).backward()
    optimizer.step()
""",
    "by_hand": """
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(150):
    optimizer.zero_grad()
    loss_of(step).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad
""",
    "late_optimizer": """
head = nn.Linear(3, 3)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
late = torch.optim.Adam(head.parameters(), lr=1e-2)
for step in range(120):
    optimizer.zero_grad()
    late.zero_grad()
    loss_of(step, head=head).backward()
    optimizer.step()
    if step >= 40:
        late.step()
""",
    "zeroed": """
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(60):
    loss_of(step).backward()
    optimizer.zero_grad(set_to_none=False)
    optimizer.step()
""",
    "scaled": """
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
for step in range(150):
    optimizer.zero_grad()
    scaler.scale(loss_of(step)).backward()
    scaler.step(optimizer)
    scaler.update()
""",
    "in_backward": """
optimizers = {parameter: torch.optim.SGD([parameter], lr=0.1) for parameter in model.parameters()}


def step_now(parameter):
    optimizers[parameter].step()
    optimizers[parameter].zero_grad()


for parameter in model.parameters():
    parameter.register_post_accumulate_grad_hook(step_now)
for step in range(150):
    loss_of(step).backward()
""",
    "gan": """
generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
critic = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
bce = nn.BCEWithLogitsLoss()
steps_generator = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
steps_critic = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999))
for step in range(400):
    real = torch.randn(64, 2) * 0.5 + torch.tensor([0.3, -0.2])
    fake = generator(torch.randn(64, 4))
    steps_critic.zero_grad()
    loss = bce(critic(real), torch.ones(64, 1)) + bce(critic(fake.detach()), torch.zeros(64, 1))
    loss.backward()
    steps_critic.step()
    steps_generator.zero_grad()
    bce(critic(fake), torch.ones(64, 1)).backward()
    steps_generator.step()
""",
    "zero_rate": """
optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
for step in range(300):
    optimizer.zero_grad()
    loss_of(step).backward()
    optimizer.step()
""",
    "overfit": """
inputs, unseen = torch.randn(60, 20), torch.randn(200, 20)
direction = torch.randn(20)
labels, hidden = (((x @ direction + 3 * torch.randn(len(x))) > 0).long() for x in (inputs, unseen))
model = nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(60):
    model.train()
    for rows in torch.arange(60).split(15):
        optimizer.zero_grad()
        criterion(model(inputs[rows]), labels[rows]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        criterion(model(unseen), hidden)
""",
    "functional": """
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for epoch in range(8):
    model.train()
    for step in range(16):
        optimizer.zero_grad()
        loss_of(step).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        nn.functional.cross_entropy(model(inputs), labels)
""",
    "explodes": """
import time

optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
for step in range(3000):
    if step >= 40:
        optimizer.param_groups[0]["lr"] = 1e-12
        time.sleep(0.02)
    optimizer.zero_grad()
    (loss_of(step) * (1e9 if step >= 40 else 1.0)).backward()
    optimizer.step()
""",
    "kept": """
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(200):
    loss_of(step).backward()
    optimizer.step()
""",
    "accumulated": """
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(200):
    loss_of(step).backward()
    if step % 2:
        optimizer.step()
        optimizer.zero_grad()
""",
    "closures": """
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=1)
for step in range(20):
    def closure():
        optimizer.zero_grad()
        loss = loss_of(0)
        loss.backward()
        return loss

    optimizer.step(closure)
""",
    "kept_and_diverging": """
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
for step in range(300):
    loss_of(step).backward()
    optimizer.step()
""",
    "rising_rate": """
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 1.15)
for step in range(65):
    optimizer.zero_grad()
    loss_of(step).backward()
    optimizer.step()
    schedule.step()
""",
}
