"""`bind-an-audio generate`: clips from a text, an image or both, from a list of prompts, or as an earlier clip."""

from __future__ import annotations

import argparse
import filecmp
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.formats.audio import SAMPLE_RATE
from stages.formats.files import read_jsonl, write_jsonl

if TYPE_CHECKING:
    from stages.inference.provenance import Record
    from stages.inference.run import Request, Run

CHOICES = ("seconds", "steps", "guidance_scale")
PROMPT_KEYS = {"id", "text", "image", "seed", *CHOICES}
NAME = re.compile(r"[\w-][\w.-]*")


@dataclass(frozen=True)
class Wanted:
    """One file to write: where, what is asked for, the seed."""

    path: Path
    request: Request
    seed: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--text", help='what is heard, in a few words: "three slow, loud rings"')
    parser.add_argument("--image", type=Path, help="a picture of what sounds (PNG or JPEG)")
    parser.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE.jsonl",
        help="a clip a line instead: text, image (from the file's folder), id, seed, seconds, steps, guidance_scale",
    )
    parser.add_argument("--like", type=Path, metavar="CLIP", help="as an earlier clip was made; options change it")
    parser.add_argument(
        "--out", type=Path, required=True, help=".wav or .flac, of several seeds NAME-SEED.wav; with --prompts a folder"
    )
    parser.add_argument(
        "--experiment",
        choices=("a", "b", "reference"),
        help="whose conditioning steers (default: the run's better one; reference: CLAP's features of the text)",
    )
    parser.add_argument(
        "--seed", type=int, nargs="+", help="of the starting noise; several make as many clips (default: 0)"
    )
    parser.add_argument(
        "--fast", action="store_true", help="half as many evaluations of the U-Net: 6 steps, guided above timestep 500"
    )
    parser.add_argument("--steps", type=int, help="sampling steps (default: sample.steps of params.yaml)")
    parser.add_argument(
        "--guidance-scale", type=float, help="1 is none (default: sample.guidance_scale of params.yaml)"
    )
    parser.add_argument(
        "--seconds", type=float, help="length of the clip, 1 to 32 (default: that of the training clips)"
    )
    parser.add_argument("--preset", help="a file of presets/ by its name whose params count instead of params.yaml's")


def main(arguments: argparse.Namespace) -> None:
    """Check everything, load the networks once, make every clip and write it; doubts go to stderr.

    Raises ValueError in one line for whatever is asked for wrongly, before any network is loaded.
    """
    from stages.inference.provenance import of_two_runs, read_record

    if arguments.prompts and (arguments.text or arguments.image or arguments.like):
        raise ValueError("--prompts: takes no --text, --image or --like; its lines say what is made")
    earlier = read_record(arguments.like) if arguments.like else None
    folder = check_names(arguments)

    from stages.inference.generator import EXPERIMENTS, Generator
    from stages.inference.provenance import write_clip
    from stages.inference.run import Run

    run = Run(preset=arguments.preset)
    jobs = list(wanted_prompts(arguments, run) if arguments.prompts else wanted_clips(arguments, run, earlier))
    if arguments.like and arguments.like.resolve() in [job.path.resolve() for job in jobs]:
        raise ValueError(f"--out {arguments.out}: is the clip that --like names; give another name")
    experiment = arguments.experiment or (earlier or {}).get("experiment")
    if experiment not in (None, *EXPERIMENTS):
        raise ValueError(f"{arguments.like}: experiment {experiment!r}: is none of {', '.join(EXPERIMENTS)}")
    if experiment is None:
        experiment, why = run.better()
        print(why, file=sys.stderr)
    if experiment == "reference" and (mute := next((job for job in jobs if job.request.text is None), None)):
        raise ValueError(f"--experiment reference: reads a text alone; {mute.path.name} has none")
    folder.mkdir(parents=True, exist_ok=True)
    generator = Generator(run, experiment)
    doubts = {doubt: None for job in jobs for doubt in job.request.doubts}
    for doubt in filter(None, (of_two_runs(run.root, generator.weights), *doubts)):
        print(doubt, file=sys.stderr)
    rows: list[Record] = []
    for job in jobs:
        clip, record = generator.make(job.request, job.seed), generator.record(job.request, job.seed)
        if earlier and record["image_md5"] == earlier.get("image_md5"):
            record["image"] = earlier.get("image")  # which may lie elsewhere by now
        write_clip(job.path, clip.waveform, record)
        print(f"{job.path}: {len(clip.waveform) / SAMPLE_RATE:.2f} s")
        for doubt in clip.doubts:
            print(f"{job.path}: {doubt}", file=sys.stderr)
        rows.append({"file_name": job.path.name, **record})
    if arguments.prompts:
        write_jsonl(arguments.out / "metadata.jsonl", rows)
    if earlier and len(jobs) == 1:
        print(compared(arguments.like, earlier, jobs[0].path, rows[0]), file=sys.stderr)


def check_names(arguments: argparse.Namespace) -> Path:
    """The folder that the clips go to. Raises ValueError for a name or folder that they cannot have."""
    from stages.inference.provenance import FORMATS

    out: Path = arguments.out
    if arguments.prompts is None:
        if out.suffix not in FORMATS:
            raise ValueError(f"--out {out}: give a name that ends in {' or '.join(FORMATS)}")
        return out.parent
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out}: give a folder that is empty or not there yet")
    return out


def wanted_clips(arguments: argparse.Namespace, run: Run, earlier: Record | None) -> Iterator[Wanted]:
    """One clip a seed, from the options, and where they are silent from an `earlier` clip's record."""
    from stages.inference.run import FAST, SETTINGS

    remembered = (earlier or {}) | (FAST if arguments.fast else {})
    given: dict[str, Any] = {name: remembered.get(name) for name in ("text", "image", *SETTINGS)}
    given |= {name: value for name in ("text", "image", *CHOICES) if (value := getattr(arguments, name)) is not None}
    seeds = arguments.seed or [remembered.get("seed", 0)]
    out: Path = arguments.out
    try:
        yield from of_each_seed(run.request(**given), seeds, out)
    except ValueError as error:
        raise ValueError(f"{arguments.like}: {error}") if earlier else error from None


def wanted_prompts(arguments: argparse.Namespace, run: Run) -> Iterator[Wanted]:
    """One clip a line and seed; options stand where a line is silent. Raises ValueError naming the line."""
    ids: set[str] = set()
    files: set[str] = set()
    for number, row in enumerate(read_jsonl(arguments.prompts), start=1):
        try:
            if unknown := sorted(row.keys() - PROMPT_KEYS):
                raise ValueError(f"unknown key {unknown[0]}; known are {', '.join(sorted(PROMPT_KEYS))}")
            name = str(row.get("id", f"{number:04d}"))
            if not NAME.fullmatch(name) or name in ids:
                raise ValueError(f"id {name!r}: give each line one of its own, of letters, digits, - and _")
            ids.add(name)
            choices = {key: getattr(arguments, key) if row.get(key) is None else row[key] for key in CHOICES}
            image = row.get("image")
            image = arguments.prompts.parent / image if isinstance(image, str) else image
            request = run.request(row.get("text"), image, fast=arguments.fast, **choices)
            seeds = arguments.seed or [0] if row.get("seed") is None else [row["seed"]]
            for wanted in of_each_seed(request, seeds, arguments.out / f"{name}.flac"):
                if wanted.path.name.casefold() in files:  # as some file systems compare names
                    raise ValueError(f"id {name!r}: another line writes {wanted.path.name}, too; give another id")
                files.add(wanted.path.name.casefold())
                yield wanted
        except ValueError as error:
            raise ValueError(f"{arguments.prompts}, prompt {number}: {error}") from None
    if not ids:
        raise ValueError(f"{arguments.prompts}: holds no prompt; give one JSON object a line")


def of_each_seed(request: Request, seeds: list[int], path: Path) -> Iterator[Wanted]:
    """One file a seed, named by it where there are several. Raises ValueError for what is no seed, and one twice."""
    from stages.inference.run import check_seed

    for number, seed in enumerate(seeds):
        check_seed(seed)
        if seed in seeds[:number]:
            raise ValueError(f"--seed {seed}: is given twice")
        yield Wanted(path if len(seeds) == 1 else path.with_name(f"{path.stem}-{seed}{path.suffix}"), request, seed)


def compared(old: Path, earlier: Record, new: Path, record: Record) -> str:
    """Whether a clip that was made again is the same, and if not, what was different."""
    if filecmp.cmp(old, new, shallow=False):
        return f"{new}: the same bytes as {old}"
    flat = [{**one, **one.get("weights", {})} for one in (earlier, record)]
    keys = [key for key in flat[1] if key not in ("weights", "file_name") and flat[0].get(key) != flat[1][key]]
    why = f"other {', '.join(keys)}" if keys else "equal in all that is recorded: another machine, format or torch?"
    return f"{new}: other bytes than {old} ({why})"
