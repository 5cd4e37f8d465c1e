"""PANNs' CNN14 by its published layout: what it hears is what the network itself would say."""

import pytest
import torch

from stages.judging.panns import PANNS, build_panns, panns_logits


def test_logits_are_those_of_the_published_layout_and_other_files_are_named(tmp_path):
    assert panns_logits(tmp_path, {"real": torch.zeros(1, 16_000)}) == {}
    torch.manual_seed(0)
    network = build_panns().eval()
    (tmp_path / PANNS).parent.mkdir()
    torch.save({"iteration": 1, "model": network.state_dict()}, tmp_path / PANNS)
    clips = {"real": torch.randn(2, 40_960) / 10, "codec": torch.randn(17, 8_000) / 10}
    logits = panns_logits(tmp_path, clips)
    assert {name: tuple(one.shape) for name, one in logits.items()} == {"real": (2, 527), "codec": (17, 527)}
    with torch.no_grad():
        tags = network({"waveform": clips["codec"][16:]})["clipwise_output"]
    assert torch.allclose(logits["codec"][16:].sigmoid(), tags, atol=1e-6)
    torch.save({"model": {"fc1.weight": torch.zeros(3, 3)}}, tmp_path / PANNS)
    with pytest.raises(ValueError, match=r"Cnn14_16k_mAP=0\.438\.pth: weights that do not fit"):
        panns_logits(tmp_path, clips)
