"""What to import from a program of one's own: `from bind_an_audio import Generator`.

The pipeline's own code lies in `stages`, where DVC runs it as `python -m stages.<stage>`; names there may change.
"""

from stages.formats.audio import SAMPLE_RATE
from stages.inference.generator import Clip, Generator
from stages.inference.provenance import read_record, write_clip
from stages.inference.run import Request, Run

__all__ = ["SAMPLE_RATE", "Clip", "Generator", "Request", "Run", "read_record", "write_clip"]
