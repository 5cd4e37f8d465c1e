"""Two trainings in one stage: where the first was resumed, the second begins as in a run that was never stopped."""

from torch import nn

from stages.params.models import Schedule
from stages.training.loop import train_by_schedule
from tests.test_training import INPUTS, fresh_network


def test_a_network_that_is_made_after_a_training_has_the_same_weights_where_that_was_resumed(tmp_path):
    schedule = Schedule(updates=5, batch_size=4, learning_rate=0.1, muon_rate=0.0)

    def next_weight() -> float:
        network = fresh_network()
        first = train_by_schedule(network, lambda _: network(INPUTS).mean(), schedule, name="a", seed=1, work=tmp_path)
        assert not network.training
        assert first.curve
        return nn.Linear(1, 1).weight.item()

    assert next_weight() == next_weight()
    assert (tmp_path / "a.safetensors").exists()
