"""The run's own folder: ``record.json`` and ``report.html``, each written whole or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import structlog

from agent import report

if TYPE_CHECKING:
    from pathlib import Path

    from agent.model import RunRecord

log = structlog.get_logger()

RECORD = "record.json"
PAGE = "report.html"


def file(record: RunRecord, folder: Path) -> RunRecord:
    """Write the record and its page; return the record with ``report`` set to the page's path."""
    page = folder / PAGE
    filed = record.with_(report=str(page))
    try:
        write_whole(folder / RECORD, report.json_text(filed))
        write_whole(page, report.html(filed))
    except OSError as error:
        log.error("report_not_filed", run=record.run, folder=str(folder), why=str(error))
        return record
    return filed


def write_whole(path: Path, text: str) -> None:
    """Write *text* to *path* so that a reader sees the old file or the new one, never half of it."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)  # noqa: PTH105  # the same, and said in the words of the manual
