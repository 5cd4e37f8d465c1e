"""MLflow's store of this repository: where it is, how to write to it without disturbing others, and what fits in it.

Environment: `MLFLOW_TRACKING_URI` wins over the default, `sqlite:///<root>/mlflow.db`, where root is DVC's root (the
user's repository, also in DVC's temporary folders).
"""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

REMEDY = "see that MLFLOW_TRACKING_URI is right and its server runs, or unset it"
# Whose errors mean that the store is at fault and not this program.
STORE_LIBRARIES = {"mlflow", "google", "sqlalchemy", "alembic", "requests", "urllib3"}
# Where MLflow's tables hold addresses of artifacts.
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
TRAINING_VIEW = "workflowType=machine_learning"
VIEW = "columns"  # what an experiment's tag and a page's address call its choice of columns
LOCK_SECONDS = 600.0  # making a database takes seconds, on a machine that trains several networks minutes


def repository_root() -> Path:
    """Return the folder that holds MLflow's store: DVC's root, or the nearest parent with `.dvc`, or this folder."""
    if os.environ.get("DVC_ROOT"):
        return Path(os.environ["DVC_ROOT"])
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir()), here)


def tracking_uri(root: Path) -> str:
    """Return MLflow's address: `MLFLOW_TRACKING_URI`, or the SQLite file in `root`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"


def shown_uri(root: Path) -> str:
    """`tracking_uri` without a password in it."""
    return re.sub(r"//[^/@]+@", "//***@", tracking_uri(root))


def reason(error: Exception) -> str:
    """The beginning of an error's message, on one line, without a password in it."""
    return re.sub(r"//[^/@\s]+@", "//***@", " ".join(str(error).split()) or type(error).__name__)[:300]


@contextmanager
def tracking_client(root: Path) -> Iterator[Any]:
    """Yield an MlflowClient that no other process of this repository uses at the same time.

    The lock covers the making and migrating of a fresh database, looking up a run before it is made, and SQLite's own
    limit of one writer: queue workers wait for each other here instead of finding the database locked. Hold it for one
    run at a time.

    Raises ValueError, in one line, where the store does not answer, answers nonsense or takes nothing.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from filelock import FileLock
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    lock = root / ".cache" / "tracking.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock, timeout=LOCK_SECONDS):
        _follow_move(root)
        try:
            yield MlflowClient(tracking_uri(root))
        except Exception as error:
            if type(error).__module__.split(".")[0] not in STORE_LIBRARIES:
                raise
            raise ValueError(
                f"{shown_uri(root)}: MLflow's store does not work: {reason(error)[:150]}; {REMEDY}"
            ) from error


def _follow_move(root: Path) -> None:
    """Let the database of a repository that was moved or copied name its artifacts where they lie now.

    MLflow keeps absolute addresses; without this a copy would write into the folder that it was copied from.
    """
    database, here = root / "mlflow.db", (root / "mlartifacts").as_uri()
    if os.environ.get("MLFLOW_TRACKING_URI") or not database.exists():
        return
    # What is no database of MLflow's is its own to complain about.
    with suppress(sqlite3.Error), closing(sqlite3.connect(database, timeout=LOCK_SECONDS)) as base, base:
        found = base.execute("SELECT DISTINCT artifact_location FROM experiments WHERE name LIKE 'bind-an-audio%'")
        for (there,) in [row for row in found if row[0] != here]:
            for table, column in ADDRESSES:
                base.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608 - names of ADDRESSES
                    (here, len(there) + 1, len(there), there),
                )
            print(f"{database}: was made in {there}; its artifacts are looked for in {here} from now on")


def mlflow_experiment(client: Any, name: str, root: Path, columns: Sequence[str] = ()) -> str:
    """Return the id of the MLflow experiment `name`, made where it is missing.

    `columns` of its table of runs ("tags.preset", "metrics.fad") are what `page_of_runs` shows.
    """
    tags = {"mlflow.experimentKind": "custom_model_development"}  # else MLflow shows it as a language model's
    if columns:
        quoted = [f"{kind}.`{key}`" for kind, _, key in (column.partition(".") for column in columns)]
        tags[f"mlflow.sharedViewState.{VIEW}"] = json.dumps({"selectedColumns": quoted})
    experiment = client.get_experiment_by_name(name)
    if experiment is not None and experiment.experiment_id:
        for key in tags.keys() - experiment.tags.keys():
            client.set_experiment_tag(experiment.experiment_id, key, tags[key])
        return str(experiment.experiment_id)
    # A server knows where its artifacts belong; the local default would be relative to the working folder.
    beside = None if os.environ.get("MLFLOW_TRACKING_URI") else (root / "mlartifacts").as_uri()
    made = str(client.create_experiment(name, artifact_location=beside, tags=tags))
    if not made:
        raise ValueError(f"{shown_uri(root)}: answers as no MLflow server does; {REMEDY}")
    return made


def page_of_runs(root: Path, experiment_id: str | None, columns: bool = False) -> str:
    """Where a browser shows an experiment's runs in MLflow's view for training models, and the `columns` it was given.

    Without the address's settings MLflow opens in its view for language models, which has no runs. Where there is no
    experiment yet it is the list of all.
    """
    page = f"#/experiments/{experiment_id}/runs?{TRAINING_VIEW}" if experiment_id else f"#/experiments?{TRAINING_VIEW}"
    if columns:
        page += f"&viewStateShareKey={VIEW}"
    uri = shown_uri(root)
    if uri.startswith("http"):
        return f"{uri.rstrip('/')}/{page}"
    return f"`mlflow ui --backend-store-uri {uri}`, then http://127.0.0.1:5000/{page}"


def search_all(client: Any, experiment_id: str, query: str = "") -> Iterator[Any]:
    """Yield all runs that `query` finds, page by page."""
    page = None
    while page != "":
        found = client.search_runs([experiment_id], query, max_results=1000, page_token=page)
        yield from found
        page = found.token or ""


def log_in_batches(
    client: Any,
    run_id: str,
    params: Mapping[str, Any],
    metrics: Iterable[tuple[str, float, int]],
    tags: Mapping[str, str],
    earliest: int = 0,
) -> None:
    """Log params, metrics `(key, value, step)` and tags in as few calls as MLflow's limits allow.

    Metrics are dated now, or `earliest` (Unix time in ms) where that is later.
    """
    from mlflow.entities import Metric, Param, RunTag

    now = max(int(time.time() * 1000), earliest)
    param_rows = [Param(key, str(value)) for key, value in params.items()]
    metric_rows = [Metric(key, value, now, step) for key, value, step in metrics]
    tag_rows = [RunTag(key, value) for key, value in tags.items()]
    while param_rows or metric_rows or tag_rows:
        client.log_batch(run_id, metrics=metric_rows[:800], params=param_rows[:100], tags=tag_rows[:100])
        metric_rows, param_rows, tag_rows = metric_rows[800:], param_rows[100:], tag_rows[100:]


def log_datasets(client: Any, run_id: str, hashes: Mapping[str, str]) -> None:
    """Log what lies under `data/` as MLflow datasets whose digest is DVC's md5 (path -> md5; others are left out)."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Dataset(name=path, digest=md5, source_type="local", source=f'{{"uri": "{path}"}}'),
            [InputTag("mlflow.data.context", "dvc")],
        )
        for path, md5 in hashes.items()
        if path.startswith("data/") and md5 != "missing"
    ]
    if inputs:
        client.log_inputs(run_id, inputs)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Join nested keys with dots: `{"a": {"b": 1}}` becomes `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Flatten `values` and keep what is a number."""
    return {key: float(value) for key, value in flatten(values).items() if isinstance(value, (int, float))}
