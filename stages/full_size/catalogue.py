"""Which published files a parameter file needs, where they come from, and whether the right ones are there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from stages.formats.files import read_json
from stages.params.schema import Params

CATALOGUE = Path(__file__).with_name("catalogue.json")


@dataclass(frozen=True)
class Published:
    """One file of `catalogue.json` and where it belongs.

    Stages look for `name` below `folder`; one of `others`, by their checksums, does instead. It comes from a
    `repository` of the Hugging Face Hub, from a plain `url`, or by hand from a `page`. `sha256` is known where its
    publisher or others name it; else the md5 that `dvc add` notes is what holds it fast.
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

    def present(self) -> Path | None:
        """The file, or the one that does instead, where it is there."""
        paths = [self.folder / name for name in (self.name, *self.others)]
        return next((path for path in paths if path.is_file()), None)

    def checksum(self, path: Path) -> str | None:
        """The SHA-256 that the file at `path`, this one or one that does instead, is known to have."""
        known = {self.path: self.sha256} | {self.folder / name: value for name, value in self.others.items()}
        return known[path]


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
    path = file.present()
    if path is None:
        return "missing"
    known = file.checksum(path)
    return "here" if known is None or sha256(path) == known else "wrong"


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
