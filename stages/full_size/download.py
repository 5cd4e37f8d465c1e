"""Getting one published file: resumed where a download broke off, checked, and only then put in its place."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from stages.full_size.catalogue import Published, sha256
from stages.plumbing.progress import progress

PIECE = 1 << 20
TIMEOUT_SECONDS = 30


def download(file: Published) -> None:
    """Fetch the file to its path.

    Raises ValueError, in one line, without a network, for an answer that is no success, and for a wrong checksum.
    """
    file.path.parent.mkdir(parents=True, exist_ok=True)
    if file.repository is not None:
        _from_hub(file)
    elif file.url is not None:
        _from_url(file, file.url)
    else:
        raise ValueError(f"{file.path}: comes by hand only, from {file.page}")


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
    request = urllib.request.Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
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
