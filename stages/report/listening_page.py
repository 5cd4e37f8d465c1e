"""The listening page: one HTML file that holds everything it shows and asks nothing of the network.

Images, mel pictures and audio stand in it as data URIs. Clips are FLAC: lossless, since differences between systems
can be slight, and of equal bytes for equal samples (libsndfile's Ogg streams carry random serial numbers).
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.formats.files import write_text
from stages.formats.images import open_image
from stages.report.listening_words import HELP, LEAD, METRICS, SYSTEMS, Metric

IMAGE_PIXELS = 272  # twice the width at which a page shows an image
MEL_FLOOR, MEL_CEILING = -4.5, 0.5  # log10 magnitudes that are drawn black and brightest, in all pictures alike
# Ten stops of the "magma" colour map of Smith and van der Walt (CC0): equal steps of level look equally large.
MAGMA = ["000004", "180f3d", "440f76", "721f81", "9e2f7f", "cd4071", "f1605d", "fd9668", "feca8d", "fcfdbf"]


@dataclass(frozen=True)
class Clip:
    """One sound: `waveform` [samples] within +-1, and its mel [80, frames], log10, about -5 to 1."""

    waveform: NDArray[np.float32]
    mel: NDArray[np.float32]


@dataclass(frozen=True)
class ListeningRow:
    """One test caption with what was made of it; `clips` maps systems to clips and may lack some."""

    id: str
    caption: str
    visual_part: str
    text_part: str
    image: Path | None
    clips: Mapping[str, Clip]


def write_listening_page(
    path: Path,
    *,
    title: str,
    rows: Sequence[ListeningRow],
    systems: Sequence[str],
    summary: Mapping[str, Mapping[str, float]],
    notes: Sequence[str],
    sample_rate: int,
) -> None:
    """Write the page in one step.

    Args:
        path: the HTML file.
        title: heading and window title.
        rows: the captions, in the order in which they are shown.
        systems: which systems are shown, from left to right; `SYSTEMS` of listening_words says what they are.
        summary: system -> metric -> value, as in metrics/evaluation.json; what `METRICS` does not know is left out.
        notes: paragraphs of plain text for the foot of the page, such as dates, caveats, licences.
        sample_rate: of every waveform, in Hz.
    """
    page = Template(_file("listening_page.html")).substitute(
        title=html.escape(title),
        lead=html.escape(LEAD),
        help=HELP,
        style=_file("listening_page.css").strip(),
        script=_file("listening_page.js").strip(),
        summary=_summary(systems, summary),
        captions="\n".join(_article(row, systems, sample_rate) for row in rows),
        notes="\n".join(f"<p>{html.escape(note)}</p>" for note in notes),
    )
    write_text(path, page)


def mel_picture(mel: NDArray[np.float32]) -> Image.Image:
    """Draw a mel [80, frames] as a palette image, time to the right, low frequencies below, louder is brighter."""
    level = np.clip((mel - MEL_FLOOR) / (MEL_CEILING - MEL_FLOOR), 0, 1)
    image = Image.fromarray(np.rint(np.nan_to_num(level)[::-1] * 255).astype(np.uint8), "P")
    stops = np.array([[int(stop[i : i + 2], 16) for i in (0, 2, 4)] for stop in MAGMA], dtype=np.float64)
    at = np.linspace(0, len(stops) - 1, 256)
    palette = np.stack([np.interp(at, np.arange(len(stops)), stops[:, channel]) for channel in range(3)], axis=1)
    image.putpalette(np.rint(palette).astype(np.uint8).tobytes())
    return image


def _file(name: str) -> str:
    return (resources.files("stages.report") / name).read_text(encoding="utf-8")


def _summary(systems: Sequence[str], summary: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out the metric table and the sentences that say what systems and metrics are."""
    shown = [metric for metric in METRICS if any(metric.key in values for values in summary.values())]
    listed = [system for system in systems if system in summary]
    lines = []
    if shown and listed:
        head = "".join(
            f'<th scope="col">{html.escape(metric.name)}<span class="better">{metric.better}</span></th>'
            for metric in shown
        )
        lines += ['<div class="scroll" tabindex="0" role="region" aria-label="Table of results"><table>']
        lines += [f'<thead><tr><th scope="col">System</th>{head}</tr></thead>', "<tbody>"]
        for system in listed:
            cells = "".join(f"<td>{_figure(metric, summary[system].get(metric.key))}</td>" for metric in shown)
            lines.append(f'<tr{_experiment(system)}><th scope="row">{html.escape(_name(system))}</th>{cells}</tr>')
        lines += ["</tbody>", "</table></div>"]
    meanings = [(_name(system), SYSTEMS[system][1]) for system in systems if system in SYSTEMS]
    meanings += [(metric.name, metric.meaning) for metric in shown]
    lines.append('<dl class="meanings">')
    lines += [f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd></div>" for name, text in meanings]
    lines.append("</dl>")
    return "\n".join(lines)


def _figure(metric: Metric, value: float | None) -> str:
    if value is None:
        return '<span title="not measured">–</span>'
    return f"{100 * value:.{metric.decimals}f}&nbsp;%" if metric.is_share else f"{value:.{metric.decimals}f}"


def _article(row: ListeningRow, systems: Sequence[str], sample_rate: int) -> str:
    identity, caption = html.escape(row.id), html.escape(row.caption)
    if row.image is None:
        image = '<div class="noimage">no image</div>'
    else:
        image = f'<img src="{_image_uri(row.image)}" alt="Image drawn for: {html.escape(row.visual_part)}">'
    clips = "\n".join(_clip(system, row.clips.get(system), row.caption, sample_rate) for system in systems)
    return f"""<article id="{identity}" aria-labelledby="{identity}-caption">
<div class="subject">
{image}
<h3 id="{identity}-caption">{caption}</h3>
<button type="button" class="row" aria-label="Play all systems of: {caption}" hidden>Play row</button>
<dl class="parts">
<dt class="seen">seen</dt><dd>{html.escape(row.visual_part)}</dd>
<dt class="heard">heard</dt><dd>{html.escape(row.text_part)}</dd>
</dl>
</div>
<ul class="clips">
{clips}
</ul>
</article>"""


def _clip(system: str, clip: Clip | None, caption: str, sample_rate: int) -> str:
    name = html.escape(_name(system))
    classes = "clip experiment" if _experiment(system) else "clip"
    if clip is None:
        return f'<li class="{classes}"><p class="name">{name}</p><div class="none">no clip</div></li>'
    seconds = f"{len(clip.waveform) / sample_rate:.2f}"
    label = f"{name}: {html.escape(caption)}"
    return f"""<li class="{classes}">
<p class="name">{name}</p>
<button type="button" class="play" aria-label="Play {label}" aria-pressed="false" data-system="{name}" \
data-caption="{html.escape(caption)}" disabled>
<img src="{_mel_uri(clip.mel)}" alt=""><span class="top" aria-hidden="true">8 kHz</span>\
<span class="bottom" aria-hidden="true">0</span><span class="length">{seconds}&nbsp;s</span>\
<span class="head"></span><span class="icon"></span></button>
<audio controls preload="none" aria-label="{label}" src="{_audio_uri(clip.waveform, sample_rate)}"></audio>
</li>"""


def _name(system: str) -> str:
    return SYSTEMS[system][0] if system in SYSTEMS else system.replace("_", " ")


def _experiment(system: str) -> str:
    return ' class="experiment"' if system.startswith("experiment_") else ""


def _image_uri(path: Path) -> str:
    small = open_image(path)
    small.thumbnail((IMAGE_PIXELS, IMAGE_PIXELS), Image.Resampling.LANCZOS)
    return _encoded(small, "WEBP", quality=82, method=4)


def _mel_uri(mel: NDArray[np.float32]) -> str:
    return _encoded(mel_picture(mel), "PNG", optimize=True)


def _encoded(image: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return _data_uri(f"image/{kind.lower()}", buffer.getvalue())


def _audio_uri(waveform: NDArray[np.float32], sample_rate: int) -> str:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(waveform, -1, 1), sample_rate, format="FLAC", subtype="PCM_16")
    return _data_uri("audio/flac", buffer.getvalue())


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
