"""Arrays as large as the corpus: made a piece at a time, kept in a file, and mapped, so that memory stays small."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from stages.corpus.clips import Row, read_waveforms
from stages.formats.files import replacing
from stages.plumbing.cluster import in_batches

PIECE = 32


def waveform_pieces(rows: Sequence[Row]) -> Iterator[Tensor]:
    """The rows' waveforms `[at most 32, samples]` at 16 kHz in [-1, 1], piece after piece."""
    return map(read_waveforms, in_batches(rows, PIECE))


@torch.no_grad()
def stored(path: Path, pieces: Iterable[Tensor]) -> Tensor:
    """Join pieces `[n, ...]` along their first dimension in a file; returns it mapped, `[N, ...]`, not to be changed.

    The file has no name any more when this returns: the disk is free again when the tensor or the process ends.
    """
    count, piece = 0, torch.empty(0)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for piece in pieces:
            file.write(piece.contiguous().numpy().data)
            count += len(piece)
    shape = (count, *piece.shape[1:])
    whole = torch.from_file(str(path), shared=False, size=math.prod(shape), dtype=piece.dtype).view(shape)
    path.unlink()
    return whole
