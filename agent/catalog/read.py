"""From a path to an experiment, or to everything that is wrong with it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from agent.catalog import jsontext, source, yamltext
from agent.catalog.complaints import shape_findings
from agent.catalog.document import Document, unfold
from agent.catalog.experiment import Experiment, allowance
from agent.catalog.extension import GamedayKeys
from agent.catalog.problem import Finding, InvalidExperiment, Problem, Unreadable, dotted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from agent.catalog.shape import ExperimentFile

_MISSING_EXTENSION = "add extensions: [{name: gameday, timeout_s: 60}]: a run needs a time limit"
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


def read(path: Path, *, variables: Mapping[str, str] = NO_VARIABLES) -> Experiment:
    """Return the experiment in the file at *path*.

    Args:
        path: A ``.yaml``, ``.yml`` or ``.json`` file.
        variables: Values for keys that the file's configuration declares.

    Raises:
        InvalidExperiment: The file is not an experiment; carries every mistake, in file order.
    """
    document = Document(value=None, places={}, findings=())
    try:
        document = _document(path)
        file, findings = shape_findings(document.value)
        findings = [*document.findings, *findings]
    except Unreadable as error:
        file, findings = None, [error.finding]
    ours = next((e for e in file.extensions if isinstance(e, GamedayKeys)), None) if file else None
    if file and ours is None:
        findings.append(Finding(where=(), says="has no gameday extension", instead=_MISSING_EXTENSION))
    if findings or file is None or ours is None:
        raise InvalidExperiment(_problems(path, document, findings))
    return _experiment(path, document.value, file, ours)


def _document(path: Path) -> Document:
    text = source.text(path)
    parse = jsontext.parse if path.suffix == ".json" else yamltext.parse
    return unfold(parse(text))


def _problems(path: Path, document: Document, findings: Iterable[Finding]) -> list[Problem]:
    problems = []
    for finding in findings:
        place = finding.at or (document.place(finding.where) if document.places else None)
        problem = Problem(
            file=str(path),
            line=place.line if place else 0,
            column=place.column if place else 0,
            where=dotted(finding.where),
            says=finding.says,
            instead=finding.instead,
        )
        problems.append(problem)
    return sorted(set(problems), key=lambda p: (p.line, p.column, p.where, p.says))


def _experiment(
    path: Path, definition: dict[str, Any], file: ExperimentFile, ours: GamedayKeys
) -> Experiment:
    return Experiment(
        path=path, title=file.title, definition=definition, allowance=allowance(ours, tags=tuple(file.tags))
    )
