"""The record as a documented, versioned JSON document, and back (docs/report-schema.md)."""

from __future__ import annotations

import functools
import json
import math
from typing import TYPE_CHECKING, Any

from agent.model import RunRecord, UsageError
from agent.report.figures import figures

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA_ID = "gameday/run/1"
"""Changes when a reader of the old form would misread the new one; added fields do not change it."""


class RecordError(UsageError):
    """A text is not a run record of this schema; nothing was read from it."""


def json_text(record: RunRecord) -> str:
    """Return *record* and its key figures as a JSON document.

    What JSON has no word for is replaced: NaN and the infinities by null, lone surrogates by ``?``.
    """
    told = figures(record)
    data = record.to_json() | {
        "figures": {
            "fault_s": told.fault_s,
            "detect_s": told.detect_s,
            "recover_s": told.recover_s,
            "unsteady_s": told.unsteady_s,
            "unknown_s": told.unknown_s,
            "looks": told.looks,
            "requests": told.requests,
        },
    }
    return json.dumps(_speakable(data), indent=2, ensure_ascii=True, allow_nan=False, default=str) + "\n"


def from_json(text: str) -> RunRecord:
    """Return the record in *text*; fields this version does not know are left out.

    Raises:
        RecordError: Not JSON, another schema, or a field of a wrong type.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"not a JSON document: {error}") from None
    found = data.get("schema") if isinstance(data, dict) else None
    if found != SCHEMA_ID:
        raise RecordError(f"schema is {found!r}, and this version reads {SCHEMA_ID!r} only")
    from pydantic import ValidationError  # noqa: PLC0415  reading is rarer than writing

    try:
        return _adapter().validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise RecordError(f"{where}: {first['msg']} ({error.error_count()} wrong in all)") from None


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what :func:`json_text` writes."""
    made = _adapter().json_schema(mode="serialization")
    number = {"anyOf": [{"type": "number"}, {"type": "null"}]}
    durations = ("fault_s", "detect_s", "recover_s", "unsteady_s", "unknown_s")
    told = dict.fromkeys(durations, number) | {n: {"type": "integer"} for n in ("looks", "requests")}
    made["properties"] |= {
        "schema": {"const": SCHEMA_ID},
        "figures": {"type": "object", "properties": told, "required": list(told)},
    }
    made["required"] = sorted({*made["properties"]} - {"figures"})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **made}


@functools.cache
def _adapter() -> TypeAdapter[RunRecord]:
    from collections.abc import Mapping  # noqa: F401, PLC0415  pydantic resolves model.py's annotation by it

    from pydantic import TypeAdapter  # noqa: PLC0415  not needed to write

    return TypeAdapter(RunRecord)


def _speakable(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_speakable(str(key)): _speakable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_speakable(item) for item in value]
    return value
