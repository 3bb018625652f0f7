"""The base of every configuration record: frozen, and strict about keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen configuration record that refuses unknown keys.

    Each part of the pipeline declares its own subclass beside the code that it configures;
    ``legacylens.config`` reads them from TOML.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
