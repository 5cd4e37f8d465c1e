"""What the sections of params.yaml are made of: a frozen base and number types that refuse and never alter."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
LossWeighting = Literal["plain", "clean_latent"]


class Section(BaseModel):
    """A part of params.yaml: frozen, strictly typed; no key of params.yaml has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _checked(self) -> Self:
        self._check()
        return self

    def _check(self) -> None:
        """Raise ValueError for values that do not go together."""


class Regime(Section):
    """How a training goes on from update to update, and when it ends.

    rate: the learning rate falls to a twentieth (cosine) or stays (constant), both after a warm-up.
    gradient_accumulation: batches an update; of several processes each takes so many.
    patience: epochs without a lower validation loss that end the training; 0 never does.
    """

    rate: Literal["cosine", "constant"]
    gradient_accumulation: Count
    patience: Annotated[int, Field(ge=0)]
