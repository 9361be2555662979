"""What happens at each point where PyTorch calls us: optimizer steps, backward, GradScaler.

Everything that holds tensors is looked at only on armed steps; the rest costs a few microseconds.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import torch
from torch.optim.optimizer import Optimizer

from wheeltapper import _ranks, _session
from wheeltapper.torch import amp, losses
from wheeltapper.torch.activations import Activations
from wheeltapper.torch.dataloader import DataWait
from wheeltapper.torch.kept_gradient import KeptGradient
from wheeltapper.torch.loose import LooseParameters
from wheeltapper.torch.loss_graph import LossGraph
from wheeltapper.torch.names import Model, ModuleRegistry, Names
from wheeltapper.torch.optimizer import OptimizerPlan, parameters_of
from wheeltapper.torch.rounds import StepRounds
from wheeltapper.torch.unstepped import BackwardsWithoutStep

# With more optimizers than this (one per parameter) their scalars are not told apart.
MAX_LABELLED_OPTIMIZERS = 8


class TorchCapture:
    """All that is known about PyTorch in this process."""

    def __init__(self) -> None:
        self.names = Names()
        self.losses = losses.LossBook()
        self.loss_graph = LossGraph()
        self.registry = ModuleRegistry(self.on_compile)
        self.activations = Activations(self._find_model_of_module, self.session, self.registry.is_part)
        self.loss_modules = losses.LossModules(self.losses, self.activations.on_call)
        self.scaler = amp.ScalerWatch()
        self.data_wait = DataWait()
        self.rounds = StepRounds()
        self.loose = LooseParameters(self._find_models)
        self.unstepped = BackwardsWithoutStep()
        self.optimizers: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self._plans: dict[int, OptimizerPlan] = {}
        self._tokens = 0
        self._norms: list[float] = []
        self._backwards = 0  # calls of backward() so far
        self._kept_due: list[KeptGradient] = []  # to be told when the next one begins
        self._session: _session.RankSession | None = None

    # --- the session ---

    def session(self) -> _session.RankSession | None:
        """The session, started and introduced to PyTorch at first use."""
        session = _session.start()
        if session is None or session is self._session:
            return session
        self._session = session
        session.in_eval = self._in_eval
        session.on_finished = self._on_finished
        session.on_closing = self._on_closing
        for model in self.names.models:
            self._introduce(session, model)
        self.activations.arm(session.armed)
        return session

    def _in_eval(self) -> bool:
        roots = [root for model in self.names.models if (root := model.root()) is not None]
        return bool(roots) and not any(root.training for root in roots)

    def _on_finished(self, armed: bool) -> None:
        self.activations.arm(armed)

    def _on_closing(self) -> None:
        session = self._session
        if session is None:
            return
        self._record_evaluation(session)
        self.activations.report_opaque(session)
        if self._tokens == 0:
            self.unstepped.at_end(session)
        if self.rounds.open:
            session.finish_step(_session.TRAIN)

    # --- models ---

    def add_model(self, root: torch.nn.Module, *, prefix: str = "") -> None:
        """Watches a model, once."""
        model = self.names.add_model(root, prefix=prefix)
        if model is None:
            return
        self.activations.add_model(model)
        if self._session is not None:
            self._introduce(self._session, model)

    def _introduce(self, session: _session.RankSession, model: Model) -> None:
        described = self.names.describe(model)
        session.meta("model", **described)
        elements = sum(parameter["numel"] for parameter in described["parameters"])
        session.native.describe_model(
            f"{model.label}, {len(described['parameters'])} parameters, {elements:,} elements"
        )
        self.activations.report_compiled(session)

    def _find_model_of_module(self, module: torch.nn.Module) -> None:
        for root in self.registry.roots():
            if root.training and any(part is module for part in root.modules()):
                self.add_model(root)

    def _find_models(self, optimizer: Optimizer) -> None:
        wanted = {id(p) for p in parameters_of(optimizer) if self.names.parameter(p) is None}
        for root in self.registry.roots() if wanted else ():
            if any(id(parameter) in wanted for parameter in root.parameters()):
                self.add_model(root)

    # --- optimizers ---

    def plan(self, optimizer: Optimizer, session: _session.RankSession) -> OptimizerPlan:
        """The plan of an optimizer, built at its first step and again when its groups change."""
        plan = self._plans.get(id(optimizer))
        if plan is None or plan.optimizer() is not optimizer:
            plan = self._new_plan(optimizer)
        self._find_models(optimizer) if plan.calls == 0 else None
        if plan.build(optimizer, session, self.names):
            # Without state it has not stepped yet: rules tell means that warm up by that.
            step = session.native.global_step
            is_new = {} if optimizer.state else {"new_at": step}
            is_first = {"first_at": step} if plan.calls == 0 else {}
            session.meta("optimizer", **plan.describe(optimizer, self.names), **is_new, **is_first)
            if plan.token == 0:
                self._describe_run(optimizer, session)
        return plan

    def _new_plan(self, optimizer: Optimizer) -> OptimizerPlan:
        token, self._tokens = self._tokens, self._tokens + 1
        self.optimizers.add(optimizer)
        label = ""
        if token > 0 and len(self.optimizers) <= MAX_LABELLED_OPTIMIZERS:
            label = f".{self._label_of(optimizer, token)}"
        plan = OptimizerPlan(optimizer, token, label)
        key = id(optimizer)
        plan.optimizer = weakref.ref(optimizer, lambda _: self._forget(key, plan.token))
        self._plans[key] = plan
        return plan

    def _forget(self, key: int, token: int) -> None:
        plan = self._plans.get(key)
        if plan is not None and plan.token == token:
            del self._plans[key]
        self.rounds.forget(token)

    def _label_of(self, optimizer: Optimizer, token: int) -> str:
        self._find_models(optimizer)
        first = next(parameters_of(optimizer), None)
        taken = {plan.label for plan in self._plans.values()}
        for model in self.names.models:
            root = model.root()
            if root is not None and any(p is first for p in root.parameters()) and f".{model.label}" not in taken:
                return model.label
        return f"optimizer{token}"

    def _describe_run(self, optimizer: Optimizer, session: _session.RankSession) -> None:
        values = {key: value for key, value in optimizer.defaults.items() if isinstance(value, bool | int | float)}
        session.meta(
            "hyperparameters",
            optimizer=type(optimizer).__name__,
            world_size=_ranks.find_rank()[1],
            batch_size=self.data_wait.batch_size or None,
            torch_threads=torch.get_num_threads(),
            deterministic=torch.are_deterministic_algorithms_enabled(),
            seed=torch.initial_seed(),
            **values,
        )

    # --- steps ---

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """An optimizer is about to step."""
        session = self.session()
        if session is None:
            return
        session.settle(own=False)
        session.native.set_phase(_session.PHASE_OPTIMIZER)
        plan = self.plan(optimizer, session)
        plan.calls += 1
        plan.skips = amp.skips(optimizer)
        if plan.skips:
            return
        if not session.explicit_steps and self.rounds.before(plan.token):
            self._finish(session)
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        plan.has_closure = closure is not None
        kept = plan.kept.before_step(self._backwards)
        if kept is not None and not plan.has_closure:
            step = session.native.global_step
            name = self.names.parameter(kept)
            session.meta("kept_gradient", parameter=name, step=step, read=plan.kept.was_read)
        if session.armed and plan.recorded_step != session.native.global_step:
            if not plan.has_closure:
                plan.record_gradients(session, amp.gradient_scale(optimizer))
            plan.copy_weights()

    def after_step(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        """An optimizer has stepped."""
        session = self._session if _session.running() is not None else None
        plan = self._plans.get(id(optimizer))
        if session is None or plan is None:
            return
        if plan.skips:
            self.skipped(session)
            return
        plan.kept.after_step(parameters_of(optimizer), self._backwards)
        if plan.kept.is_due:
            self._kept_due.append(plan.kept)
        norm = math.nan
        if session.armed and plan.recorded_step != session.native.global_step:
            plan.recorded_step = session.native.global_step
            if plan.has_closure:
                plan.record_gradients(session, amp.gradient_scale(optimizer))
            plan.build_states(optimizer, session, self.names)
            plan.record_after_step(session)
            norm = plan.norm
        self._record_scalars(optimizer, plan, session, norm)
        session.round_open = True
        ends = self.rounds.after(plan.token, optimizers=len(self.optimizers))
        if session.armed and (ends or session.explicit_steps):
            # Nobody unscales the gradients of parameters that no optimizer steps.
            scale = 1.0 / (self.scaler.loss_scale or 1.0)
            stepped = [each for each in self.optimizers if id(each) in self._plans]
            idle = [each for each in self.optimizers if id(each) not in self._plans]
            self.loose.record(session, self.names, stepped, idle, scale=scale)
        if ends and not session.explicit_steps:
            self._finish(session)

    def _record_scalars(
        self, optimizer: Optimizer, plan: OptimizerPlan, session: _session.RankSession, norm: float
    ) -> None:
        self._record_evaluation(session)
        labelled = len(self.optimizers) <= MAX_LABELLED_OPTIMIZERS
        values = {
            f"{name}{plan.label}" if name == "loss/backward" else name: value
            for name, value in self.losses.take_training().items()
        }
        if labelled or plan.token == 0:
            values |= plan.scalars(optimizer)
        if not labelled:
            self._norms.append(norm)
        elif not math.isnan(norm):
            values[f"gradient_norm{plan.label}"] = norm
        if labelled and plan.without_gradient is not None:
            values[f"wheeltapper/steps_without_gradient{plan.label}"] = plan.without_gradient
        plan.without_gradient = None
        values |= self.scaler.scalars()
        self._write(session, values)

    def _write(self, session: _session.RankSession, values: dict[str, float]) -> None:
        if values:
            ids = [session.scalar_id(name) for name in values]
            session.native.record_scalars(ids, list(values.values()))

    def _record_evaluation(self, session: _session.RankSession) -> None:
        means = self.losses.take_evaluation()
        if means:
            session.log(means, mode=_session.EVAL, step=max(session.native.global_step - 1, 0))

    def _finish(self, session: _session.RankSession) -> None:
        norms, self._norms = self._norms, []
        if norms and not any(math.isnan(norm) for norm in norms):
            self._write(session, {"gradient_norm": math.hypot(*norms)})
        session.finish_step(_session.TRAIN)
        session.native.set_phase(_session.PHASE_RUNNING)

    def skipped(self, session: _session.RankSession) -> None:
        """GradScaler found infinities: the optimizer did nothing, and no step is counted."""
        self.scaler.skipped_steps += 1
        bad = {name: value for name, value in self.losses.take_training().items() if not math.isfinite(value)}
        session.log(bad | self.scaler.scalars(), mode=_session.TRAIN, step=session.native.global_step)

    # --- taps ---

    def before_optimizer_init(self, _optimizer: Optimizer, *_args: Any, **_kwargs: Any) -> None:
        """An optimizer is being constructed.

        The first one imports torch's compiler, which keeps the method by which modules are called and
        compares with it ever after: no tap may be there.
        """
        self.activations.arm(False)

    def after_optimizer_init(self, _none: Any, optimizer: Optimizer, *_args: Any, **_kwargs: Any) -> None:
        """An optimizer was constructed: what is called from now on may be training."""
        self.optimizers.add(optimizer)
        self.loss_graph.renew()
        self.activations.arm(_session.under_watcher() if self._session is None else self._session.armed)

    def on_compile(self) -> None:
        """Something is being compiled; nothing has been traced yet."""
        self.loss_modules.on_compile()
        self.activations.on_compile()

    def before_backward(self, tensors: Any, grad_tensors: Any = None, *_args: Any, **kwargs: Any) -> None:
        """torch.autograd.backward is called, also by Tensor.backward."""
        session = self.session()
        if session is None:
            return
        session.settle(own=False)
        session.backward_seen = session.backward_ever = True
        if self._tokens == 0 and self.optimizers and not self._in_eval():
            self.unstepped.note(session, self.optimizers)
        session.native.set_phase(_session.PHASE_BACKWARD)
        self._backwards += 1
        while self._kept_due:
            self._kept_due.pop().before_backward()
        seeded = grad_tensors is not None or kwargs.get("grad_variables") is not None
        scaled = self.losses.was_scaled(tensors)
        self.losses.add_backward(tensors, seeded=seeded)
        if isinstance(tensors, torch.Tensor) and tensors.device.type != "cpu" and not seeded:
            session.native.unsupported(session.native.register_tensor("loss/backward", role="loss"))
        if not seeded:
            self.loss_graph.look(session, tensors, scaled=scaled)

    def after_scale(self, scaled: Any, _scaler: Any, outputs: Any) -> None:
        """GradScaler.scale has returned."""
        self.losses.note_scaled(scaled, outputs)

    def before_scaler_step(self, scaler: Any, optimizer: Optimizer, *_args: Any, **_kwargs: Any) -> None:
        """GradScaler.step is called."""
        plan = self._plans.get(id(optimizer))
        self.scaler.before_step(scaler, 0 if plan is None else plan.calls)

    def after_scaler_step(self, _result: Any, scaler: Any, optimizer: Optimizer, *_args: Any, **_kwargs: Any) -> None:
        """GradScaler.step has returned."""
        plan = self._plans.get(id(optimizer))
        skipped = self.scaler.after_step(scaler, 0 if plan is None else plan.calls)
        session = self.session() if skipped else None
        if session is not None:
            self.skipped(session)


CAPTURE = TorchCapture()
