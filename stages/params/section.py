"""What the sections of params.yaml are made of: a frozen base and number types that DVC's spelling fits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _exponent(value: Any) -> Any:
    """Read `2e-05` as a number: DVC writes it so for `-S`, and YAML 1.1 takes it for a string."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Float = Annotated[float, BeforeValidator(_exponent)]
Positive = Annotated[float, BeforeValidator(_exponent), Field(gt=0)]
NotNegative = Annotated[float, BeforeValidator(_exponent), Field(ge=0)]
Share = Annotated[float, BeforeValidator(_exponent), Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
LossWeighting = Literal["plain", "clean_latent"]


class Section(BaseModel):
    """A part of params.yaml: frozen, strictly typed, without defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
