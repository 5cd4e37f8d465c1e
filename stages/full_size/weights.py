"""`bind-an-audio weights`: the published weights that a parameter file needs, listed, fetched and verified.

`catalogue.json` says which files there are and where they come from. A download that broke off is resumed, checked,
and only then put in its place.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from stages.formats.files import read_json
from stages.params.schema import Params, load_params
from stages.plumbing.progress import progress

CATALOGUE = Path(__file__).with_name("catalogue.json")
PIECE = 1 << 20
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Published:
    """One file of the catalogue and where it belongs.

    Stages look for `name` below `folder`; one of `others`, by their checksums, does instead. It comes from a
    `repository` of the Hugging Face Hub, from a plain `url`, or by hand from a `page`. Where no `sha256` is known, the
    md5 that `dvc add` notes is what holds it fast.
    """

    folder: Path
    name: str
    others: dict[str, str | None]
    what: str
    megabytes: float
    licence: str
    sha256: str | None
    repository: str | None = None
    url: str | None = None
    page: str | None = None

    @property
    def path(self) -> Path:
        """Where the stages look for the file."""
        return self.folder / self.name

    @property
    def source(self) -> str:
        """What a person opens to get the file."""
        return self.page or self.url or f"https://huggingface.co/{self.repository}/resolve/main/{self.path.name}"

    def present(self) -> tuple[Path, str | None] | None:
        """The file, or the one that does instead, where it is there, and the SHA-256 that it is known to have."""
        files = {self.name: self.sha256, **self.others}.items()
        return next(((self.folder / name, known) for name, known in files if (self.folder / name).is_file()), None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--preset", help="a file of presets/ by its name: full (default: params.yaml)")
    parser.add_argument("--list", action="store_true", help="only list and verify; fetch nothing")


def main(arguments: argparse.Namespace) -> None:
    """List what is needed, fetch what is missing, verify, and say what is left to be done by hand.

    Raises ValueError where a file is still missing or wrong at the end.
    """
    path = Path(f"presets/{arguments.preset}.yaml") if arguments.preset else Path("params.yaml")
    files = needed(load_params(path))
    if not files:
        print(f"{path} needs no published weights: everything is trained.")
        return
    states = [verified(file) for file in files]
    print(table(files, states))
    if not arguments.list:
        for number, file in enumerate(files):
            if states[number] != "here" and file.page is None:
                try:
                    download(file)
                    states[number] = "here"
                except ValueError as error:  # the others still get their turn
                    print(f"{file.path}: {error}")
    left = [file for file, state in zip(files, states, strict=True) if state != "here"]
    for file in left:
        print(f"\nPut by hand: {file.path}\n  from {file.source}\n  ({file.what}, {size(file)}, {file.licence})")
    if left:
        raise ValueError(
            f"{len(left)} of {len(files)} files are missing or wrong: {', '.join(file.name for file in left)}"
        )
    folders = " ".join(sorted({str(file.folder) for file in files}))
    print(f"\nAll {len(files)} files are here. Let DVC track them: dvc add {folders}")


def table(files: list[Published], states: list[str]) -> str:
    """One line a file: state, size, licence, checksum, source."""
    rows = [("file", "state", "size", "licence", "sha256", "source")]
    for file, state in zip(files, states, strict=True):
        checksum = file.sha256[:12] if file.sha256 else "none known"
        path, _ = file.present() or (file.path, None)
        rows.append((str(path), state, size(file), file.licence, checksum, file.source))
    total = sum(file.megabytes for file in files) / 1000
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, f"{len(files)} files, {total:.1f} GB"])


def size(file: Published) -> str:
    """The file's size for a person to read."""
    return f"{file.megabytes:.0f} MB" if file.megabytes >= 1 else f"{1000 * file.megabytes:.0f} kB"


def needed(params: Params) -> list[Published]:
    """The files that sections with published weights read, each once, in the order of the catalogue."""
    folders: dict[str, str] = {}
    if params.encoders.source == "pretrained":
        folders |= dict.fromkeys(("encoders", f"encoders:{params.encoders.clap}"), params.encoders.weights)
    if params.judges.clap == "laion_clap":
        folders["judges:laion_clap"] = params.judges.weights
    if params.codec.source == "pretrained":
        folders["codec"] = params.codec.weights
    if params.backbone.source == "pretrained":
        folders["backbone"] = params.backbone.weights
    found: dict[Path, Published] = {}
    for entry in read_json(CATALOGUE):
        for reader in entry.pop("read_by"):
            if reader in folders:
                file = Published(Path(folders[reader]), **entry)
                found[file.path] = file
    return list(found.values())


def verified(file: Published) -> str:
    """`missing`, `here`, or `wrong` where the file differs from its checksum; hashing takes a second a gigabyte."""
    if (found := file.present()) is None:
        return "missing"
    path, known = found
    return "here" if known is None or sha256(path) == known else "wrong"


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(file: Published) -> None:
    """Fetch a file that comes from a repository or a url to its path.

    Raises ValueError, in one line, without a network, for an answer that is no success, and for a wrong checksum.
    """
    file.path.parent.mkdir(parents=True, exist_ok=True)
    if file.url is None:
        _from_hub(file)
    else:
        _from_url(file, file.url)


def _from_hub(file: Published) -> None:
    """By huggingface_hub, which resumes on its own and respects HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE."""
    from huggingface_hub import hf_hub_download

    folder = file.path.with_name(f".{file.path.name}.partial")
    try:
        path = Path(hf_hub_download(str(file.repository), file.path.name, local_dir=folder))
    except Exception as error:
        raise ValueError(f"{file.source}: cannot be fetched ({_reason(error)})") from None
    _into_place(file, path)
    shutil.rmtree(folder)


def _from_url(file: Published, url: str) -> None:
    partial = file.path.with_name(f".{file.path.name}.partial")
    begun = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})  # noqa: S310 - addresses of the catalogue
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - addresses of the catalogue
            # A server that does not know ranges sends the whole from the start.
            resumed = answer.status == 206
            total = int(answer.headers.get("Content-Length", 0)) + (begun if resumed else 0)
            with open(partial, "ab" if resumed else "wb") as out:
                pieces = iter(lambda: answer.read(PIECE), b"")
                start = begun // PIECE if resumed else 0
                for piece in progress(pieces, file.path.name, total=-(-total // PIECE), initial=start):
                    out.write(piece)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise ValueError(f"{url}: cannot be fetched ({error.code} {error.reason})") from None
        # Nothing after what is there: the file was whole already.
        total = begun
    except (OSError, ValueError) as error:
        raise ValueError(f"{url}: cannot be fetched ({_reason(error)}); the same command resumes it") from None
    if partial.stat().st_size < total:
        raise ValueError(
            f"{url}: broke off after {partial.stat().st_size} of {total} bytes; the same command resumes it"
        )
    _into_place(file, partial)


def _into_place(file: Published, path: Path) -> None:
    if file.sha256 is not None and sha256(path) != file.sha256:
        path.unlink()
        raise ValueError(
            f"{file.source}: not the file that is known (SHA-256 {file.sha256[:12]}...); removed, try again"
        )
    os.replace(path, file.path)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return (str(reason) or type(error).__name__).splitlines()[0][:160]
