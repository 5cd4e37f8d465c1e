"""`bind-an-audio plots` and the templates of `.dvc/plots`, as a browser without a network shows them."""

import os
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.commands.main import main
from stages.formats.files import write_json, write_tsv
from stages.tracking.machines import outputs_digest
from stages.tracking.revisions import lock_hashes
from tests.browser import chromium

ROOT = Path(__file__).parent.parent
TABLES: dict[str, list[dict[str, Any]]] = {
    "metrics/systems.tsv": [
        {"metric": metric, "system": system, "value": 1.5, "low": 1.0, "high": 2.0}
        for metric in ("fad", "clap_score")
        for system in ("real", "experiment_b")
    ],
    "metrics/probes.tsv": [{"attribute": "pace", "embedding": "fused", "value": 0.25}],
    "metrics/details.tsv": [{"detail": "attribute count", "system": "real", "value": 0.75}],
    "metrics/judge_confusion.tsv": [{"actual": "bell", "predicted": "drum"}, {"actual": "bell", "predicted": "drum"}],
}


def shell(*words: str, folder: Path) -> None:
    subprocess.run(words, cwd=folder, check=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Two commits of the pipeline's own plots, made by two machines; the working folder of all tests here."""
    folder = tmp_path_factory.mktemp("repository")
    shell("git", "init", "-q", folder=folder)
    shell("dvc", "init", "-q", folder=folder)
    shutil.copytree(ROOT / ".dvc" / "plots", folder / ".dvc" / "plots")
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    declared = stages["encoders"]["plots"] + stages["evaluate"]["plots"]
    plots = [item for item in declared if next(iter(item)) in TABLES]
    assert len(plots) == len(TABLES)
    stage = {"cmd": "true", "outs": [], "plots": plots}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"evaluate": stage}}))
    with chdir(folder):
        for number, name in enumerate(("Abacus", "Babbage")):
            for path, rows in TABLES.items():
                made = [{**row, **({"value": row["value"] + number} if "value" in row else {})} for row in rows]
                write_tsv(path, made)
            shell("dvc", "commit", "-q", "-f", folder=folder)
            outputs = lock_hashes((folder / "dvc.lock").read_text(), "outs")["evaluate"]
            write_json("metrics/machines.json", {"evaluate": {"outputs": outputs_digest(outputs), "processor": name}})
            shell("git", "add", "-A", folder=folder)
            shell("git", "commit", "-qm", name, folder=folder)
        yield folder


@pytest.mark.slow
def test_the_page_draws_all_tables_names_the_machines_and_asks_nothing_of_the_network(repository):
    """Made by `.venv/bin/bind-an-audio`, the environment not activated."""
    entry = [sys.executable, "-c", "from stages.commands.main import entry; entry()"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": os.defpath}
    command = [*entry, "plots", "HEAD~1", "HEAD", "--out", "page"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "evaluate: Abacus / Babbage" in done.stdout
    with chromium() as browser:
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((repository / "page" / "index.html").as_uri())
        for title in ("Systems with 95 % intervals", "linear probe", "Single attributes", "What the judge hears"):
            page.get_by_text(title).first.wait_for(state="attached")
        text = page.inner_text("body")
        # A bar for each of 2 metrics, 2 systems and 2 revisions, and a line over it for its interval.
        bars = page.locator(".mark-rect.role-mark path[aria-roledescription='bar']").count()
        lines = page.locator(".mark-rule.role-mark line").count()
        drawn = page.locator(".mark-text.role-mark text").all_text_contents()
    assert "were made on two machines" in text
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert (bars, lines) == (8, 8)
    assert {"0.25", "1.25", "0.75", "1.75", "2"} <= set(drawn)


def test_a_wrong_revision_is_one_clear_line(repository):
    with pytest.raises(ValueError, match="no-such-thing: neither a commit nor"):
        main(["plots", "no-such-thing"])
