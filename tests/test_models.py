"""A revision's networks as MLflow's models: found by their scores, on which data, and which is the champion."""

from __future__ import annotations

from contextlib import chdir

import mlflow
import pytest
from mlflow import MlflowClient

from stages.tracking.mlflow_store import tracking_client
from stages.tracking.models import MODELS_EXPERIMENT, REGISTERED, log_models

# Commit, md5 of B, epochs of B, CLAP score of A and of B, md5 of the corpus; A is the same in all.
REVISIONS = [
    ("a" * 40, "b1", "20", 0.40, 0.30, "c1"),
    ("b" * 40, "b2", "40", 0.40, 0.55, "c1"),
    ("c" * 40, "b3", "60", 0.40, 0.35, "c1"),
    ("d" * 40, "b2", "40", 0.41, 0.20, "c2"),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory, empty_store):
    """The store after four revisions were logged, the second being HEAD."""
    folder = tmp_path_factory.mktemp("store")
    store = f"sqlite:///{folder / 'mlflow.db'}"
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    for sha, md5, epochs, score_a, score_b, corpus in REVISIONS:
        outputs = {"models/experiment_a": "a1", "models/experiment_b": md5, "models/codec": "k1", "data/corpus": corpus}
        metrics = {
            "evaluation.experiment_a.clap_score": score_a,
            "evaluation.experiment_b.clap_score": score_b,
            "evaluation.codec.fad": 1.0,
            "quality.accepted": 3.0,
        }
        params = {"train_b.epochs": epochs, "train_a.batch_size": "4"}
        aliases = [f"champion-{sha[:7]}", *(["champion"] if sha == "b" * 40 else [])]
        with chdir(folder), tracking_client(folder) as one:
            log_models(one, sha, outputs, params, metrics, ("data/corpus", corpus), aliases)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store)
        yield MlflowClient(store)
    mlflow.set_tracking_uri(None)


def test_which_b_had_the_best_clap_score_and_on_which_data(client):
    experiment = client.get_experiment_by_name(MODELS_EXPERIMENT).experiment_id
    best, *others = mlflow.search_logged_models(
        [experiment],
        "name = 'experiment_b'",
        order_by=[
            {
                "field_name": "metrics.clap_score",
                "ascending": False,
                "dataset_name": "data/corpus",
                "dataset_digest": "c1",
            }
        ],
        output_format="list",
    )
    assert (best.tags["md5"], best.tags["path"], best.tags["revision"]) == ("b2", "models/experiment_b", "b" * 40)
    assert best.params == {"train_b.epochs": "40"}
    scores = {(one.key, one.value, one.dataset_name, one.dataset_digest) for one in best.metrics}
    assert scores == {("clap_score", 0.55, "data/corpus", "c1"), ("clap_score", 0.2, "data/corpus", "c2")}
    assert [one.tags["md5"] for one in others] == ["b3", "b1"]


def test_a_network_is_one_model_however_many_revisions_share_it(client):
    experiment = client.get_experiment_by_name(MODELS_EXPERIMENT).experiment_id
    names = sorted(one.name for one in client.search_logged_models([experiment]))
    assert names == ["codec", "experiment_a", *["experiment_b"] * 3]
    assert all(str(one.status) == "READY" for one in client.search_logged_models([experiment]))
    assert len(client.search_runs([experiment])) == 5


def test_the_champion_is_the_better_experiment_of_head_and_of_each_revision(client):
    def champion(alias):
        tags = client.get_model_version_by_alias(REGISTERED, alias).tags
        return tags["experiment"], tags["md5"]

    assert champion("champion") == ("experiment_b", "b2")
    assert champion("champion-aaaaaaa") == champion("champion-ccccccc") == ("experiment_a", "a1")
    assert champion("champion-bbbbbbb") == ("experiment_b", "b2")
    assert len(client.search_model_versions(f"name = '{REGISTERED}'")) == 4
