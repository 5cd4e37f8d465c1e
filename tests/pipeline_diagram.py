"""docs/pipeline.md's picture of the pipeline: `dvc dag` without the edges that a longer way says as well.

`python -m tests.pipeline_diagram` prints it as Mermaid, which GitHub draws; a test holds the page against it.
"""

from __future__ import annotations

from pathlib import Path

import networkx


def diagram(folder: Path = Path(".")) -> str:
    """Mermaid text of the transitive reduction of DVC's graph of stages, from left to right."""
    from dvc.repo import Repo

    with Repo(str(folder)) as repository:
        edges = [
            (source.name, stage.name)
            for stage, source in repository.index.graph.edges
            if source.name and Path(stage.relpath) == Path("dvc.yaml")
        ]
    reduced = networkx.transitive_reduction(networkx.DiGraph(edges))
    place = {stage: number for number, stage in enumerate(networkx.lexicographical_topological_sort(reduced))}
    ordered = sorted(reduced.edges, key=lambda edge: (place[edge[0]], place[edge[1]]))
    return "\n".join(["flowchart LR", *(f"    {first} --> {second}" for first, second in ordered)])


if __name__ == "__main__":
    print(diagram())
