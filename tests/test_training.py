"""The training loop: it learns, keeps its best weights, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import nn

from stages.training.checkpoint import load_checkpoint
from stages.training.determinism import batch_indices, derive_seed
from stages.training.loop import PLAIN_REGIME, learning_rate_factor, train
from stages.training.optimizers import build_optimizer


def fresh_network(width: int = 16) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Dropout(0.1), nn.Linear(width, 1))


INPUTS = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
TARGETS = INPUTS.sum(dim=1, keepdim=True).sin()


# First eight bytes of the SHA-256 of "1/a", halved: equal in every process and version.
SEED_1_A = 6885665436231814845


class KilledError(Exception):
    pass


def run(
    work,
    killed_at: int | None = None,
    ema_decay: float = 0.0,
    updates: int = 60,
    optimizer_name: str = "adamw",
    width: int = 16,
    faults: Sequence[tuple[int, str]] = (),
    batch_size: int = 16,
    **regime: Any,
):
    network, faults = fresh_network(width), list(faults)

    def loss(update: int) -> torch.Tensor:
        if update == killed_at:
            raise KilledError
        batch = batch_indices(update, len(INPUTS), batch_size, 0, "test")
        squared: torch.Tensor = (network(INPUTS[batch]) - TARGETS[batch]).square()
        kind = faults.pop(0)[1] if faults and faults[0][0] == update else ""
        # The root of 0 is 0 and has no gradient.
        rootless = (0 * next(network.parameters()).sum()).sqrt()
        value = squared.mean()
        return value * math.inf if kind == "loss" else value + rootless if kind == "gradient" else value

    def validate(averaged: nn.Module) -> dict[str, float]:
        return {"validation_loss": (averaged(INPUTS) - TARGETS).square().mean().item()}

    return train(
        network,
        loss,
        name="test",
        seed=3,
        updates=updates,
        learning_rate=0.05,
        work=work,
        epoch_updates=10,
        validate=validate,
        best_by="validation_loss",
        ema_decay=ema_decay,
        optimizer_name=optimizer_name,
        regime=PLAIN_REGIME.model_copy(update=regime),
    )


def test_it_learns_and_keeps_the_epoch_with_the_lowest_criterion(tmp_path):
    trained = run(tmp_path)
    losses = [row["validation_loss"] for row in trained.curve]
    assert losses[-1] < 0.5 * losses[0]
    assert [row["updates"] for row in trained.curve] == [10, 20, 30, 40, 50, 60]
    assert trained.best_epoch == 1 + losses.index(min(losses))
    network = fresh_network()
    network.load_state_dict(trained.best)
    best = (network.eval()(INPUTS) - TARGETS).square().mean().item()
    assert best == pytest.approx(min(losses), rel=1e-5)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("killed_at", [1, 10, 37])
def test_a_killed_run_ends_with_the_same_bytes(tmp_path, monkeypatch, ema_decay, killed_at):
    whole = run(tmp_path / "whole", ema_decay=ema_decay)
    monkeypatch.setenv("BIND_AN_AUDIO_CHECKPOINT_SECONDS", "0")
    with pytest.raises(KilledError):
        run(tmp_path / "killed", killed_at, ema_decay)
    resumed = run(tmp_path / "killed", ema_decay=ema_decay)
    assert resumed.curve == whole.curve
    for name, tensor in whole.last.items():
        assert torch.equal(resumed.last[name], tensor)
    for name, tensor in whole.best.items():
        assert torch.equal(resumed.best[name], tensor)


@pytest.mark.parametrize("left", [0, 7, 100, 2000])
def test_a_checkpoint_that_was_cut_off_is_noticed_and_the_one_before_it_used(tmp_path, monkeypatch, capsys, left):
    whole = run(tmp_path / "whole")
    monkeypatch.setenv("BIND_AN_AUDIO_CHECKPOINT_SECONDS", "0")
    with pytest.raises(KilledError):
        run(tmp_path / "killed", killed_at=37)
    last = tmp_path / "killed/test.safetensors"
    last.write_bytes(last.read_bytes()[:left])
    resumed = run(tmp_path / "killed")
    said = capsys.readouterr()
    assert "test: resumed after update 36 of 60" in said.out
    assert f"warning: {last}: no whole checkpoint" in said.err
    assert same(resumed, whole)


@pytest.mark.parametrize("content", [b"cut", save({"network/x": torch.zeros(1)})])
def test_where_no_checkpoint_is_whole_the_training_begins_anew(tmp_path, monkeypatch, content):
    monkeypatch.setenv("BIND_AN_AUDIO_CHECKPOINT_SECONDS", "0")
    with pytest.raises(KilledError):
        run(tmp_path / "killed", killed_at=37)
    for checkpoint in (tmp_path / "killed").iterdir():
        checkpoint.write_bytes(content)
    assert same(run(tmp_path / "killed"), run(tmp_path / "whole"))


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = run(tmp_path)
    _, state = load_checkpoint(tmp_path / "test.safetensors")
    assert state["update"] == 60
    again = run(tmp_path, killed_at=0)
    assert again.curve == first.curve
    assert all(torch.equal(again.best[name], first.best[name]) for name in first.best)


def test_a_diverging_loss_is_one_clear_error(tmp_path):
    network = fresh_network()
    with pytest.raises(ValueError, match="no longer finite at update 0; lower its learning_rate"):
        train(
            network,
            lambda update: torch.as_tensor(network(INPUTS)).mean() * math.inf,
            name="test",
            seed=0,
            updates=5,
            learning_rate=0.1,
            work=tmp_path,
            epoch_updates=5,
        )


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_passing_fault_sends_the_training_back_once_and_it_ends_with_the_same_bytes(
    tmp_path, monkeypatch, capsys, kind
):
    whole = run(tmp_path / "whole")
    monkeypatch.setenv("BIND_AN_AUDIO_CHECKPOINT_SECONDS", "0")
    assert same(run(tmp_path / "spoilt", faults=[(37, kind)]), whole)
    assert "warning: test: the loss is not finite at update 37; back to 37" in capsys.readouterr().err


def test_a_fault_that_comes_again_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("BIND_AN_AUDIO_CHECKPOINT_SECONDS", "0")
    with pytest.raises(ValueError, match="no longer finite at update 37; lower its learning_rate"):
        run(tmp_path, faults=[(37, "loss"), (37, "loss")])


def test_frozen_parameters_stay(tmp_path):
    network = fresh_network()
    network[0].requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train(
        network,
        lambda update: torch.as_tensor(network(INPUTS)).square().mean(),
        name="test",
        seed=0,
        updates=5,
        learning_rate=0.1,
        work=tmp_path,
        epoch_updates=5,
    )
    after = network.state_dict()
    assert torch.equal(after["0.weight"], before["0.weight"])
    assert not torch.equal(after["3.weight"], before["3.weight"])


def test_learning_rate_warms_up_then_falls():
    factors = [learning_rate_factor(update, 100) for update in range(100)]
    assert factors[0] == pytest.approx(0.2)
    assert max(factors) == 1.0
    assert factors[5:] == sorted(factors[5:], reverse=True)
    assert factors[-1] == pytest.approx(0.05, abs=0.01)
    constant = PLAIN_REGIME.model_copy(update={"rate": "constant"})
    assert [learning_rate_factor(update, 100, constant) for update in (0, 5, 99)] == [0.2, 1.0, 1.0]


def test_accumulated_batches_are_one_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(nn.Dropout, "forward", lambda self, value: value)
    whole = run(tmp_path / "whole", batch_size=16)
    parts = run(tmp_path / "parts", batch_size=4, gradient_accumulation=4)
    for one, other in zip(whole.curve, parts.curve, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_a_training_without_hope_stops_and_stays_stopped(tmp_path, monkeypatch):
    """Killed after the last epoch that it waits for, it must not go on from there either."""
    monkeypatch.setenv("BIND_AN_AUDIO_CHECKPOINT_SECONDS", "0")
    stopped = run(tmp_path, updates=400, patience=2)
    assert len(stopped.curve) == stopped.best_epoch + 2 < 40
    (checkpoint,) = tmp_path.glob("test.before.safetensors")
    checkpoint.replace(tmp_path / "test.safetensors")
    again = run(tmp_path, updates=400, patience=2, killed_at=10 * len(stopped.curve))
    assert again.curve == stopped.curve
    assert len(run(tmp_path / "patient", updates=400).curve) == 40


def test_batches_cover_an_epoch_once_and_depend_on_the_seed():
    epoch = torch.cat([batch_indices(update, 10, 3, 7, "a") for update in range(3)])
    assert len(set(epoch.tolist())) == 9
    assert torch.equal(batch_indices(4, 10, 3, 7, "a"), batch_indices(4, 10, 3, 7, "a"))
    assert not torch.equal(batch_indices(0, 100, 50, 7, "a"), batch_indices(0, 100, 50, 7, "b"))
    assert len(batch_indices(0, 2, 16, 7)) == 2
    assert derive_seed(1, "a") == SEED_1_A
    assert derive_seed(1, "a") != derive_seed("1a")


def same(first, second) -> bool:
    return first.curve == second.curve and all(torch.equal(first.last[name], second.last[name]) for name in first.last)


def test_a_killed_run_with_8_bit_moments_ends_with_the_same_bytes(tmp_path, monkeypatch):
    pytest.importorskip("bitsandbytes", reason='`pip install -e ".[gpu]"` runs it')
    monkeypatch.setenv("BIND_AN_AUDIO_CHECKPOINT_SECONDS", "0")
    # Tensors of fewer than 4,096 numbers keep moments of 32 bits.
    options: dict[str, Any] = {"updates": 20, "optimizer_name": "adamw_8bit", "width": 4096}
    whole = run(tmp_path / "whole", **options)
    with pytest.raises(KilledError):
        run(tmp_path / "killed", killed_at=7, **options)
    tensors, _ = load_checkpoint(tmp_path / "killed/test.safetensors")
    assert tensors["optimizer_0"]["0.state1"].dtype == torch.uint8
    assert same(run(tmp_path / "killed", **options), whole)
    assert not same(run(tmp_path / "32 bits", updates=20, width=4096), whole)


class HidingOptimizer(torch.optim.SGD):
    """Momentum, its state kept as bitsandbytes keeps it: a Python number of steps, tensors hidden and tables shared."""

    table = torch.arange(4.0)

    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            state = self.state[parameter]
            state.setdefault("step", 0)
            assert isinstance(state["step"], int)
            state["step"] += 1
            state.setdefault("state1", torch.zeros_like(parameter))
            state.setdefault("table", self.table)
            state["state1"].mul_(0.9).add_(parameter.grad)
            parameter.data -= self.param_groups[0]["lr"] / state["step"] * state["state1"]

    def state_dict(self):
        told = super().state_dict()
        hidden = {index: {"hidden": {**named}} for index, named in told["state"].items()}
        return {**told, "state": hidden}


def test_moments_that_an_optimizer_hides_are_kept_too(tmp_path, monkeypatch):
    monkeypatch.setenv("BIND_AN_AUDIO_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr(
        "stages.training.optimizers.build_optimizer",
        lambda _name, parameters, rate: HidingOptimizer(parameters, lr=rate),
    )
    whole = run(tmp_path / "whole", updates=20)
    with pytest.raises(KilledError):
        run(tmp_path / "killed", killed_at=7, updates=20)
    assert same(run(tmp_path / "killed", updates=20), whole)


def test_an_optimizer_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(ValueError, match=r'adamw_8bit needs bitsandbytes; `pip install -e "\.\[gpu\]"`, or take adamw'):
        build_optimizer("adamw_8bit", list(fresh_network().parameters()), 0.1)


def test_an_optimizer_on_another_device_is_one_line():
    pytest.importorskip("bitsandbytes", reason='`pip install -e ".[gpu]"` runs it')
    with pytest.raises(ValueError, match="adamw_8bit does not run on meta; set BIND_AN_AUDIO_DEVICE to cuda or cpu"):
        build_optimizer("adamw_8bit", list(nn.Linear(2, 2, device="meta").parameters()), 0.1)


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "20s"])
def test_an_environment_variable_that_is_no_number_is_named(tmp_path, monkeypatch, text):
    monkeypatch.setenv("BIND_AN_AUDIO_CHECKPOINT_SECONDS", text)
    with pytest.raises(ValueError, match=f"^BIND_AN_AUDIO_CHECKPOINT_SECONDS={text}: no number of 0 or more"):
        run(tmp_path)
    monkeypatch.setenv("BIND_AN_AUDIO_CHECKPOINT_SECONDS", "")
    assert run(tmp_path, updates=1).curve


def test_every_number_from_the_environment_goes_through_the_one_check():
    for path in Path("stages").rglob("*.py"):
        assert not re.search(r"(float|int)\(os\.(environ|getenv)", path.read_text(encoding="utf-8")), path


FULL_DISK = """
import resource, sys
from pathlib import Path
from tests.test_training import run
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
print([row["validation_loss"] for row in run(Path("work")).curve])
"""


def test_a_checkpoint_that_cannot_be_written_is_one_warning_and_the_training_goes_on(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "BIND_AN_AUDIO_CHECKPOINT_SECONDS": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "warning" in line]
    assert len(warnings) == 1, done.stderr
    assert "test trains on without a checkpoint: work/test.safetensors: cannot be written" in warnings[0]
    assert done.stdout == f"{[row['validation_loss'] for row in run(tmp_path).curve]}\n"
    assert list((tmp_path / "work").iterdir()) == []
