"""The networks of a revision as MLflow's models: DVC keeps the weights, MLflow their path, md5, params and scores.

The MLflow experiment `bind-an-audio-models` holds one external model, with one run that bears its metrics, for each
network and md5: a revision that changes B alone adds one. Metrics name the data that they were measured on. A and B are
versions of the registered model `bind-an-audio`; the alias `champion-<commit>` is the better one of a revision, and
`champion` that of the newest HEAD that was synced.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from stages.tracking.mlflow_store import mlflow_experiment, repository_root

MODELS_EXPERIMENT = "bind-an-audio-models"
REGISTERED = "bind-an-audio"
EXPERIMENTS = ("experiment_a", "experiment_b")
SCORE = "clap_score"
# Each network's section of params.yaml, and which of a revision's metrics are its own.
NETWORKS = {
    "encoders": ("encoders.", "encoders."),
    "codec": ("codec.", "evaluation.codec."),
    "backbone": ("backbone.", "evaluation.reference."),
    "experiment_a": ("train_a.", "evaluation.experiment_a."),
    "experiment_b": ("train_b.", "evaluation.experiment_b."),
}


def log_models(
    client: Any,
    sha: str,
    outputs: Mapping[str, str],
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    dataset: tuple[str, str] | None,
    aliases: Sequence[str],
) -> None:
    """Log the networks of a revision, link what `evaluate` measured to them, and say which experiment is the better.

    `outputs` are path -> md5 as the commit's dvc.lock has them, `params` (`train_b.epochs` -> 20) and `metrics`
    (`evaluation.experiment_b.clap_score` -> 0.5) flat, `dataset` path and md5 of the corpus whose test split was
    evaluated, `aliases` what the better experiment is called in the registry.
    """
    from mlflow.entities import Metric

    experiment_id = mlflow_experiment(client, MODELS_EXPERIMENT, repository_root())
    scored: dict[str, str] = {}  # experiment -> version
    for name, (section, prefix) in NETWORKS.items():
        path = f"models/{name}"
        if path not in outputs:
            continue
        tags = {"path": path, "md5": outputs[path], "revision": sha}
        own = {key: str(value) for key, value in params.items() if key.startswith(section)}
        model = _model(client, experiment_id, name, tags, own)
        now = int(time.time() * 1000)
        rows = [
            Metric(key.removeprefix(prefix), value, now, 0, model.model_id, *(dataset or (None, None)))
            for key, value in metrics.items()
            if key.startswith(prefix)
        ]
        client.log_batch(model.source_run_id, metrics=rows)
        if name in EXPERIMENTS:
            version = _version(client, model, tags | {"experiment": name})
            if f"{prefix}{SCORE}" in metrics:
                scored[name] = version
    if scored:
        champion = scored[max(scored, key=lambda name: metrics[f"evaluation.{name}.{SCORE}"])]
        for alias in aliases:
            client.set_registered_model_alias(REGISTERED, alias, champion)


def _model(client: Any, experiment_id: str, name: str, tags: dict[str, str], params: dict[str, str]) -> Any:
    """The network's external model, made with its run where it is missing."""
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_IS_EXTERNAL

    query = f"name = '{name}' AND tags.md5 = '{tags['md5']}'"
    found = client.search_logged_models([experiment_id], query, max_results=1)
    if found:
        return found[0]
    run = client.create_run(experiment_id, run_name=f"{name} {tags['md5'][:7]}", tags={"kind": "model", **tags})
    client.set_terminated(run.info.run_id)
    model = client.create_logged_model(
        experiment_id, name, run.info.run_id, {**tags, MLFLOW_MODEL_IS_EXTERNAL: "true"}, params, model_type=name
    )
    return client.finalize_logged_model(model.model_id, "READY")


def _version(client: Any, model: Any, tags: dict[str, str]) -> str:
    """The registered version of A or B, made where it is missing."""
    if not client.search_registered_models(f"name = '{REGISTERED}'"):
        client.create_registered_model(REGISTERED)
    found = client.search_model_versions(f"name = '{REGISTERED}' and tags.md5 = '{tags['md5']}'")
    if found:
        return str(found[0].version)
    made = client.create_model_version(
        REGISTERED,
        model.artifact_location,
        model.source_run_id,
        tags,
        description=tags["experiment"],
        model_id=model.model_id,
    )
    return str(made.version)
