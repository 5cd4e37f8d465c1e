"""Which machine made which stage's outputs, kept beside DVC and not in it.

Trained floats differ in their last bits between processor types, so a comparison must be able to say that two results
come from two machines. No output of a stage may hold a machine's name: dvc.lock would change from machine to machine.
The names stand in `metrics/machines.json` instead: a plain file of git, which each stage updates when it ends and which
travels with commits and DVC experiments, temporary and queued ones too. An entry counts only while the stage's outputs
are the ones that it was written for: what DVC restores from a cache is told apart from what ran here.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

from stages.formats.files import write_json

MACHINES = Path("metrics/machines.json")
UNKNOWN = "unknown"


def this_machine() -> dict[str, str]:
    """The processor and, where torch computes, its instruction set, number of threads and GPU."""
    facts = {"processor": processor()}
    torch = sys.modules.get("torch")
    if torch is not None:
        facts["instructions"] = str(torch.backends.cpu.get_cpu_capability())
        facts["threads"] = str(torch.get_num_threads())
        if torch.cuda.is_available():
            facts["gpu"] = str(torch.cuda.get_device_name())
    return facts


def peak_memory() -> dict[str, float]:
    """Gigabytes that this process has held at most and, where it computed on a GPU, of that one's memory."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found = {"peak_memory_gigabytes": held / 1e9}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and (most := torch.cuda.max_memory_allocated()):
        found["peak_gpu_memory_gigabytes"] = most / 1e9
    return found


def processor(facts: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name with family and model, since virtual machines often name little more than the maker."""
    if not facts.exists():
        return platform.processor() or platform.machine()
    pairs = (line.split(":", 1) for line in facts.read_text(encoding="utf-8").splitlines() if ":" in line)
    known = {key.strip(): value.strip() for key, value in reversed(list(pairs))}
    name = known.get("model name", platform.machine())
    return f"{name} (family {known['cpu family']} model {known['model']})" if "cpu family" in known else name


def record_machine(
    stage: str, outputs: Mapping[str, str], machine: Mapping[str, str], folder: Path = Path(".")
) -> None:
    """Note in `metrics/machines.json` that a machine (`this_machine`) made these outputs (path -> md5) of a stage.

    Stages that end at once wait for each other, by a lock on the folder that leaves no file behind.
    """
    path = folder / MACHINES
    path.parent.mkdir(parents=True, exist_ok=True)
    held = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        known = read_machines(path.read_text(encoding="utf-8", errors="replace")) if path.exists() else {}
        known[stage] = {"outputs": outputs_digest(outputs), **machine}
        write_json(path, dict(sorted(known.items())))
    finally:
        os.close(held)


def read_machines(text: str) -> dict[str, dict[str, str]]:
    """Parse `metrics/machines.json`; what cannot be read (a merge's conflict marks) names no machine."""
    try:
        entries = {stage: dict(facts) for stage, facts in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {stage: {name: str(value) for name, value in facts.items()} for stage, facts in entries.items()}


def outputs_digest(outputs: Mapping[str, str]) -> str:
    """One md5 for a stage's outputs (path -> md5)."""
    lines = "".join(f"{path} {md5}\n" for path, md5 in sorted(outputs.items()))
    return hashlib.md5(lines.encode(), usedforsecurity=False).hexdigest()


def machines_of(lock: Mapping[str, Mapping[str, str]], known: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Stage -> the machine in words, "unknown" where the entry is missing or is that of other outputs.

    `lock` has each stage's outputs (path -> md5) as dvc.lock does, `known` is metrics/machines.json of that revision.
    """
    named = {}
    for stage, outputs in lock.items():
        entry = known.get(stage, {})
        named[stage] = in_words(entry) if entry.get("outputs") == outputs_digest(outputs) else UNKNOWN
    return named


def in_words(facts: Mapping[str, str]) -> str:
    """One line: `AMD EPYC (family 26 model 2), AVX512, 2 threads`."""
    threads = facts.get("threads")
    count = f"{threads} thread{'' if threads == '1' else 's'}" if threads else ""
    parts = [facts.get("processor", UNKNOWN), facts.get("instructions", ""), count, facts.get("gpu", "")]
    return ", ".join(part for part in parts if part)


def differing_stages(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Stages that two revisions had made by two machines (`machines_of` of each); unknown ones are not among them."""
    shared = [stage for stage in first if stage in second and UNKNOWN not in (first[stage], second[stage])]
    return [stage for stage in shared if first[stage] != second[stage]]


def distinct_machines(machines: Mapping[str, str]) -> list[str]:
    """The machines that made the stages of a revision, unknown ones left out.

    A stage without torch names the processor alone: it counts as the machine of that processor's other stages.
    """
    names = sorted(set(machines.values()) - {UNKNOWN})
    return [name for name in names if not any(other.startswith(f"{name}, ") for other in names)]


def machine_sentence(machines: Mapping[str, str]) -> str:
    """Say on which machine or machines the stages of one revision ran."""
    names = distinct_machines(machines)
    if not names:
        return "On which machine this was made is not known."
    unknown = [stage for stage, machine in machines.items() if machine == UNKNOWN]
    rest = f" Not known: {', '.join(unknown)}." if unknown else ""
    if len(names) == 1:
        return f"Made on {names[0]}.{rest}"
    by_machine = (f"{name} ({', '.join(stage for stage in machines if machines[stage] == name)})" for name in names)
    count = len({without_threads(name) for name in names})
    by_what = f"on {count} machines" if count > 1 else "on one machine with different numbers of threads"
    return f"Made {by_what}, so last digits may differ: {'; '.join(by_machine)}.{rest}"


def comparison_sentence(labels: tuple[str, str], machines: tuple[Mapping[str, str], Mapping[str, str]]) -> str:
    """Say whether two revisions were made by one machine, or which stages were not."""
    stages = differing_stages(*machines)
    if not stages:
        return f"{labels[0]} and {labels[1]}: no stage is known to have run on two machines."
    listed = "; ".join(f"{stage}: {machines[0][stage]} / {machines[1][stage]}" for stage in stages)
    alike = all(without_threads(machines[0][stage]) == without_threads(machines[1][stage]) for stage in stages)
    by_what = "with other numbers of threads" if alike else "on two machines"
    return f"{labels[0]} and {labels[1]} were made {by_what}, so last digits may differ: {listed}."


def without_threads(machine: str) -> str:
    """The machine in words, its number of threads left out."""
    return re.sub(r", \d+ threads?\b", "", machine)
