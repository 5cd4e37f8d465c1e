"""`make repro`: the lanes that run side by side hold every stage they name apart, and leave nothing to wait for."""

import re
from pathlib import Path

import yaml

MAKEFILE = Path("Makefile").read_text(encoding="utf-8")
STAGES = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]


def outputs(stage):
    kept = [*STAGES[stage].get("outs", []), *STAGES[stage].get("metrics", []), *STAGES[stage].get("plots", [])]
    return {path for entry in kept for path in ([entry] if isinstance(entry, str) else entry)}


def needs(stage):
    """Every stage that has to run before `stage`."""
    found = {one for one in STAGES if outputs(one) & set(STAGES[stage].get("deps", []))}
    return found | {earlier for one in found for earlier in needs(one)}


def lanes(name):
    (line,) = re.findall(rf"^{name}:\n\t-\$\(HALF\) ([\w ]+?) 2>&1", MAKEFILE, re.MULTILINE)
    return line.split()


def test_two_lanes_never_wait_for_each_other_and_begin_when_all_they_need_is_made():
    (recipe,) = re.findall(r"^repro:.*?^\tdvc repro\n", MAKEFILE, re.MULTILINE | re.DOTALL)
    made: set[str] = set()
    for line in recipe.splitlines()[1:]:
        if both := re.fullmatch(r"\t\$\(BOTH\) ([\w ]+)", line):
            pair = [lanes(name) for name in both[1].split()]
            for lane, other in (pair, pair[::-1]):
                assert not set(lane) & set(other)
                for index, stage in enumerate(lane):
                    assert needs(stage) <= made | set(lane[:index]), f"{stage} waits for what is not made"
            made |= {stage for lane in pair for stage in lane}
        elif alone := re.fullmatch(r"\tdvc repro ([\w ]+)", line):
            made |= {one for stage in alone[1].split() for one in (stage, *needs(stage))}
    assert made == set(STAGES) - {"evaluate"}, "the last line makes the rest"
