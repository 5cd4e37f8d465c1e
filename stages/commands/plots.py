"""`bind-an-audio plots`: DVC's plots of one or more revisions as a page that opens without a network.

`dvc plots` writes a page that fetches Vega from a server. This command takes Vega from the installed package
vl-convert-python, writes it into an HTML template below `.cache/` and calls `dvc plots` with it; the page also says
where a comparison is one between two machines.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from stages.formats.files import write_text
from stages.report.dvc_plots import page_template
from stages.tracking.machines import comparison_sentence
from stages.tracking.mlflow_store import repository_root
from stages.tracking.revisions import (
    find_revision,
    known_experiments,
    open_repository,
    revision_machines,
    workspace_machines,
)

WORKSPACE = "workspace"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is drawn and where to."""
    parser.add_argument(
        "revisions",
        nargs="*",
        metavar="REV",
        help="commits, branches, tags or DVC experiments to draw beside each other (default: HEAD and workspace)",
    )
    parser.add_argument("--out", type=Path, default=Path("comparison"), help="folder of the page (default: comparison)")


def main(arguments: argparse.Namespace) -> None:
    """Write the template, let DVC fill it, print where the page is."""
    names = arguments.revisions or ["HEAD", WORKSPACE]
    with open_repository() as repository:
        experiments = known_experiments(repository)
        machines = {
            name: workspace_machines() if name == WORKSPACE else revision_machines(find_revision(name, experiments).sha)
            for name in names
        }
    notes = [comparison_sentence(pair, (machines[pair[0]], machines[pair[1]])) for pair in pairwise(names)]
    template = repository_root() / ".cache" / "plots.html"
    write_text(template, page_template(f"DVC plots: {', '.join(names)}", notes))
    shown = [name for name in names if name != WORKSPACE]
    command = ["dvc", "plots", "diff", *shown, "--html-template", str(template.resolve()), "--out", str(arguments.out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["failed"]
        raise ValueError(f"dvc plots: {lines[-1].removeprefix('ERROR: ')}")
    print(done.stderr.strip(), file=sys.stderr)
    for note in notes:
        print(note)
    print(f"Page: {arguments.out / 'index.html'}")
