"""Read the arguments that several functions take alike: lists of texts, and what changes the settings."""

import os
from pathlib import Path
from typing import Any

from shared.errors import UsageError
from shared.settings import ON, Settings, load_settings


def require_lists(of_what: str, **given: object) -> None:
    """Refuse one text in the place of a list of them, whose letters would be taken for its parts; UsageError then."""
    for name, value in given.items():
        if isinstance(value, str):
            raise UsageError(f"{name} is a list of {of_what}, as in {name}=[{value!r}], and not one text.")


def settings_with(
    broker: str | None,
    model: str | os.PathLike[str] | None,
    weights: str | os.PathLike[str] | None,
    fusion: bool,
    **others: Any,
) -> Settings:
    """The settings of the environment with those that a call gives; `others` are settings by their own names.

    Raises SettingsError for one that can't be.
    """
    return load_settings().changed(
        broker_url=broker,
        model=None if model is None else os.fspath(model),
        weights=None if weights is None else Path(weights),
        fusion=ON if fusion else None,
        **others,
    )
