"""The study as one page of Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from stages.evaluation.intervals import Estimate
from stages.report.pages import markdown_table
from stages.study.claims import CHECKS, CLAIMS, Claim, decide
from stages.study.estimates import Study

COLUMNS = {
    "fit": "fit",
    "source_accuracy": "source accuracy",
    "attribute_adherence": "attributes",
    "seen": "seen",
    "heard": "heard",
    "clap_score": "CLAP score",
}
REFERENCES = ("real", "codec", "reference", "floor")
# The description's table, its words, and what is measured beside each.
DESCRIBED = (
    ("Initial loss", "High variance", "Rapid convergence (5-6 epochs)", ("variation_first", "epochs_to_5_percent")),
    ("Training stability", "Unstable", "Stable", ("variation_last", "gradient_spikes")),
    ("Validation gap", "Large", "Moderate", ("train_valid_gap",)),
)
MEASURES = {
    "variation_first": "variation of the validation loss, first 5 epochs",
    "epochs_to_5_percent": "epochs to within 5 % of the last",
    "variation_last": "variation, last 5 epochs",
    "gradient_spikes": "share of epochs with a gradient spike",
    "train_valid_gap": "validation over training loss, less 1",
}


ARMS = """An arm is a training (`studies/arms.yaml`), run with several seeds; a seed decides the training and the \
noise that clips start from, one clip a test caption. Intervals (95 %) are over captions and seeds. `fit` is the mean \
of source accuracy and attribute adherence, or the one of them that the corpus tells; `seen` is source and size, \
`heard` the other attributes that are measured. Closed is the share of the way from floor to reference, in fit."""
CLAIMED = """A claim is supported where its whole interval lies on the claimed side of the line, contradicted where it \
lies on the other. Of one seed the interval is over captions alone: such a verdict may not hold for other trainings."""
SPACES = """On the validation split, with CLAP's mean tokens: before, the fused embeddings; after, the mean of the \
context's tokens."""
PICTURED = """![Points of fused embeddings and of CLAP's tokens, each joined to its own, before, after A and after \
B]({})

The same pairs in the plane in which both spaces vary most, each vector scaled to length 1, of the run's own A and B."""


def study_page(study: Study, note: str, picture: str) -> str:
    """The page; `note` says of which run the results are, `picture` is the file beside it that shows the spaces."""
    parts = {
        "# A against B: the study": f"Written by `bind-an-audio study`; do not edit. {note}",
        "## Arms": f"{ARMS}\n\n{arms_table(study)}",
        "## The description's claims": f"{CLAIMED}\n\n{claims_table(study, CLAIMS)}",
        "## Convergence patterns": "The description's words, and what was measured (mean over seeds, Student's "
        f"interval).\n\n{convergence_table(study)}",
        "## How far ImageBind's space is from CLAP's": f"{SPACES}\n\n{mismatch_table(study)}\n\n"
        f"{PICTURED.format(picture)}",
        "## Checks and controls": claims_table(study, CHECKS),
    }
    return "\n\n".join(f"{title}\n\n{text}" for title, text in parts.items()) + "\n"


def arms_table(study: Study) -> str:
    """References and arms, a row each."""
    rows = []
    for name in REFERENCES:
        cells = [shown(study.mean(name, metric)) for metric in COLUMNS]
        rows.append([name, "", *cells, ""])
    for name in study.results:
        cells = [shown(study.mean(name, metric)) for metric in COLUMNS]
        rows.append([name, str(len(study.seeds(name))), *cells, shown(study.closed(name, "fit"))])
    for name in study.results:
        conditions = study.results[name][study.seeds(name)[0]]["clips"]
        for clips in list(conditions)[1:]:
            cells = [shown(study.mean(name, metric, clips)) for metric in COLUMNS]
            rows.append([f"{name}, {clips.replace('_', ' ')}", str(len(study.seeds(name))), *cells, ""])
    return markdown_table(["arm", "seeds", *COLUMNS.values(), "closed"], rows)


def claims_table(study: Study, claims: Sequence[Claim]) -> str:
    """Each claim, its verdict, and the figure that decided it."""
    rows = []
    for claim in claims:
        one = decide(claim, study)
        line = f"{claim.side} {claim.line:g}"
        seeds = len(study.seeds(*(arm for arm in claim.arms if arm not in study.references["clips"])))
        rows.append([claim.words, f"**{one.verdict}**", claim.figure, shown(one.estimate), line, str(seeds)])
    return markdown_table(["claim", "verdict", "figure", "measured", "supported if", "seeds"], rows)


def convergence_table(study: Study) -> str:
    """The table "Convergence patterns" of the description, made again."""
    rows = []
    for aspect, *words, measures in DESCRIBED:
        sides = zip(words, ("a-mean", "b-mean"), strict=True)
        cells = [f"{said}: {_measured(study, arm, measures)}" for said, arm in sides]
        rows.append([aspect, *cells])
    final = [
        f"{words}: closed {shown(study.closed(arm, 'fit'))}"
        for words, arm in (("Poor", "a-mean"), ("Limited but functional", "b-mean"))
    ]
    return markdown_table(["aspect", "experiment A", "experiment B"], [*rows, ["Final performance", *final]])


def mismatch_table(study: Study) -> str:
    """Mismatch before and after each arm's own way from the embedding to the context."""
    rows = []
    for name in ("a-mean", "b-mean", "b_best-mean"):
        for side in ("before", "after"):
            found = [study.training(name, f"{one}_{side}") for one in ("cka", "mutual_neighbours", "modality_gap")]
            if any(found):
                rows.append([f"{name}, {side}", *map(shown, found)])
    return markdown_table(["", "CKA", "mutual neighbours", "modality gap"], rows)


def shown(estimate: Estimate | None) -> str:
    """`0.64 (0.55 to 0.72)`, with more digits where all are small; a dash where there is none."""
    if estimate is None:
        return "–"
    known = [number for number in estimate if number is not None]
    digits = 2 if max(map(abs, known)) >= 0.1 or not any(known) else 4
    value, *ends = (f"{number:.{digits}f}" for number in known)
    return f"{value} ({' to '.join(ends)})" if ends else value


def _measured(study: Study, arm: str, measures: Sequence[str]) -> str:
    return "; ".join(f"{MEASURES[measure]} {shown(study.training(arm, measure))}" for measure in measures)
