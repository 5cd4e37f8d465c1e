"""The console command `bind-an-audio`: what a person runs beside the pipeline."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from stages.plumbing.running import run_command

COMMANDS = {
    "generate": "make a clip from a text, an image or both, with the trained weights",
    "demo": "try the trained weights in a browser (extra `demo`)",
    "weights": "list, fetch and verify the published weights that a parameter file needs",
    "memory": "count what the full size takes of a GPU's memory",
    "rehearse": "run the full preset with random weights of the published sizes, and measure it",
    "sync": "log DVC's commits and experiments into MLflow, each exactly once",
    "plots": "draw DVC's plots of revisions on a page that opens without a network",
    "samples": "put a few clips of the run beside the README, with a table of them in it",
    "cards": "write the model card and the dataset card of the run, as the Hugging Face Hub reads them",
    "show": "print the metrics table, and where the listening page and MLflow's store are",
    "contact-sheet": "put accepted and rejected pairs with their images on one page",
    "study": "run arms of the study of A against B with several seeds, and write what they say of each claim",
    "seeds": "put whole runs that differ in seeds alone together: means, intervals, whether A and B keep their order",
    "deps": "hold dvc.yaml against the code: which files and params each stage depends on",
    "decomposition-report": "count how a file of captions fares in decomposition",
}
# Of commands that live beside what they use.
ROOMS = {
    **dict.fromkeys(("weights", "memory", "rehearse"), "full_size"),
    **dict.fromkeys(("cards", "contact-sheet"), "report"),
}


def entry() -> None:
    """Run the command that the command line names."""
    # Not activated, too, the environment's own python and dvc are those that commands and stages start.
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    run_command(lambda: from_root(sys.argv[1:]))


def from_root(words: list[str]) -> None:
    """`main`, whose complaint of a file that is not there names the way to the repository's root where that is it."""
    try:
        main(words)
    except FileNotFoundError as error:
        from stages.tracking.mlflow_store import repository_root

        if (root := repository_root()) == Path.cwd():
            raise
        raise ValueError(f"{error.filename}: no such file here; run from the repository's root: `cd {root}`") from None


def main(words: list[str]) -> None:
    """Parse `words` and call the subcommand's `main(arguments)`; only its module is imported."""
    parser = argparse.ArgumentParser(prog="bind-an-audio", description="Text and vision guided audio generation.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    chosen: Any = None
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose)
        if words and words[0] == name:
            chosen = importlib.import_module(f"stages.{ROOMS.get(name, 'commands')}.{name.replace('-', '_')}")
            chosen.add_arguments(command)
    arguments = parser.parse_args(words)
    chosen.main(arguments)


if __name__ == "__main__":
    entry()
