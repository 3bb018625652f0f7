"""TOML into frozen records, with every problem of the file at once."""

from __future__ import annotations

import difflib
import tomllib
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import tomli_w
from pydantic import BaseModel, ValidationError

from legacylens.errors import ConfigurationError, FileProblem
from legacylens.settings import Settings

Record = TypeVar("Record", bound=Settings)


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    FileProblem
        If there is no such file.
    ConfigurationError
        If it is not TOML, with the place.
    """
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileProblem(
            path, "no such configuration", "Check the path; `legacylens run --example` prints one.", reason="missing"
        ) from None
    except IsADirectoryError:
        raise FileProblem(path, "is a folder", "Give the TOML file in it.", reason="unusable") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(path, [f"not TOML: {error}"]) from error


def record_from(kind: type[Record], values: Mapping[str, Any], source: str | Path) -> Record:
    """Return the record of a mapping.

    Parameters
    ----------
    kind
        The record's class.
    values
        As read from TOML.
    source
        Where they come from, for the message.

    Raises
    ------
    ConfigurationError
        With one sentence for each unknown key and each impossible value, each with its path in the file.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigurationError(source, [_sentence(kind, detail) for detail in error.errors()]) from error


def _sentence(kind: type[BaseModel], detail: Any) -> str:
    location = tuple(detail["loc"])
    path = ".".join(str(part) for part in location) or "the file"
    if detail["type"] == "extra_forbidden":
        known = _keys_at(kind, location[:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(sorted(known))}"
        return f"{path}: unknown key; {hint}"
    if detail["type"] == "missing":
        return f"{path}: is required"
    return f"{path}: {detail['msg']}, got {detail['input']!r}"


def _records_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the record classes that an annotation allows (through unions, tuples and lists)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, tuple, list, dict):
        return [found for part in get_args(annotation) for found in _records_in(part)]
    return []


def _keys_at(kind: type[BaseModel], location: Sequence[Any]) -> list[str]:
    records: list[type[BaseModel]] = [kind]
    for part in location:
        following = [
            found
            for record in records
            if part in record.model_fields
            for found in _records_in(record.model_fields[str(part)].annotation)
        ]
        # A list's index or the name of a union's branch leads to no field: stay with the same records.
        records = following or records
    return sorted({key for record in records for key in record.model_fields})


def load_record(kind: type[Record], path: str | Path) -> Record:
    """Read a record from a TOML file; raises as `read_toml` and `record_from`."""
    return record_from(kind, read_toml(path), path)


def as_toml(record: Settings) -> str:
    """Return a record as TOML, every value written out; absent values (None) are left out, as TOML has no null."""
    return tomli_w.dumps(_without_none(record.model_dump(mode="json")))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value
