"""What the full size takes: counts by component, and the profiler's peak against sizes that are known."""

from __future__ import annotations

import os

import pytest
import torch

from stages.commands import main as commands
from stages.full_size.memory import gigabytes, parameters


def test_components_have_their_published_numbers_of_parameters(monkeypatch, capsys):
    counts = parameters()
    assert counts["U-Net"] == 160_223_684
    assert counts["VAE"] == 68_984_037
    # Published with 31,777 magnitudes of weight normalisation beside, which are folded here.
    assert counts["BigVGAN"] == 112_231_250 - 31_777
    towers = sum(counts[f"ImageBind-huge, {name}"] for name in ("text", "vision"))
    assert towers == pytest.approx(987e6, rel=0.001)
    assert counts["in all"] == sum(counts.values()) // 2
    commands.main(["memory", "--count"])
    assert "| U-Net | 160,223,684 | 0.64 |" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("BIND_AN_AUDIO_FULL_SIZE") != "1", reason="BIND_AN_AUDIO_FULL_SIZE=1 runs it: 20 GiB, 5 minutes"
)
def test_every_step_at_full_size_fits_a_gpu_of_16_gb(capsys):
    commands.main(["memory"])
    _, training, inference = capsys.readouterr().out.strip().split("\n\n")
    lines = [line for table in (training, inference) for line in table.splitlines()[2:] if line.startswith("|")]
    assert len(lines) == 8
    for line in lines:
        assert 1 < float(line.split("|")[-2]) < 14, line


def test_the_peak_is_what_is_held_at_once():
    def one_after_the_other():
        for _ in range(3):
            torch.empty(1_000_000).fill_(1.0)

    def together():
        return sum(torch.empty(1_000_000).fill_(1.0).sum() for _ in range(1)), [
            torch.empty(1_000_000) for _ in range(3)
        ]

    assert gigabytes(one_after_the_other) == pytest.approx(4e-3, rel=0.01)
    assert gigabytes(together) == pytest.approx(12e-3, rel=0.01)
    network = torch.nn.Sequential(*[torch.nn.Linear(256, 256) for _ in range(8)])
    kept = gigabytes(lambda: network(torch.randn(1000, 256)))
    with torch.no_grad():
        freed = gigabytes(lambda: network(torch.randn(1000, 256)))
    assert kept >= 3 * freed
