"""PANNs' CNN14 (Kong et al. 2020), whose AudioSet tags the field's KL divergence and inception score are of.

The network is the one in the package `laion-clap`; the weights, `Cnn14_16k_mAP=0.438.pth` of Zenodo 3987831 (CC BY
4.0), are read where someone has put them, without running code in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.plumbing.device import device
from stages.towers.packages import import_without_init
from stages.weights.fitting import load_exactly
from stages.weights.reading import read_weights

PANNS = Path("panns/Cnn14_16k_mAP=0.438.pth")
TAGS = 527
BATCH = 16


def build_panns() -> Any:
    """CNN14 of AudioSet's 527 tags at 16 kHz, with random weights."""
    module = import_without_init("laion_clap.clap_module.pann_model", "laion-clap")
    return module.Cnn14(
        sample_rate=16_000, window_size=512, hop_size=160, mel_bins=64, fmin=50, fmax=8000, classes_num=TAGS
    )


@torch.no_grad()
def panns_logits(weights: str | Path, clips: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Logits `[N, 527]` of waveforms `[N, samples]` at 16 kHz by name; none where `weights` lacks the file.

    Raises ValueError for a file that is broken or holds another network.
    """
    path = Path(weights) / PANNS
    if not path.is_file():
        return {}
    network = build_panns()
    load_exactly(network, read_weights(path, ("model",)), path)
    network.eval().to(device())
    logits = {}
    for name, waveforms in clips.items():
        parts = [network({"waveform": part}, device=device())["embedding"] for part in waveforms.split(BATCH)]
        logits[name] = network.fc_audioset(torch.cat(parts)).cpu()
    return logits
