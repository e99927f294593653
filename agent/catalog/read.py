"""From a path to an experiment, or to everything that is wrong with it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from agent.catalog import jsontext, source, yamltext
from agent.catalog.bounds import tolerance_findings
from agent.catalog.calls import call_findings
from agent.catalog.complaints import shape_findings
from agent.catalog.document import Document, unfold
from agent.catalog.experiment import Experiment, Fault, Need, allowance
from agent.catalog.extension import GamedayKeys
from agent.catalog.harm import fault_steps, harm_findings
from agent.catalog.modules import modules as imported_modules
from agent.catalog.names import name_findings
from agent.catalog.needs import needs
from agent.catalog.outside import outside_findings
from agent.catalog.problem import Finding, InvalidExperiment, Problem, Unreadable, dotted
from agent.catalog.substitution import substitution_findings
from agent.catalog.values import Values, known, values_of, with_variables
from agent.model import Call

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from agent.catalog.modules import Modules
    from agent.catalog.shape import ExperimentFile

FILES_MAX = 10_000
"""The most files one folder may hold; beyond that it is the wrong folder."""
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


def read(
    path: Path,
    *,
    variables: Mapping[str, str] = NO_VARIABLES,
    environ: Mapping[str, str] | None = None,
    modules: Modules = imported_modules,
) -> Experiment:
    """Return the experiment in the file at *path*.

    Args:
        path: A ``.yaml``, ``.yml`` or ``.json`` file.
        variables: Values for keys that the file's configuration declares, ``name`` or ``name:type``;
            without a type a value is converted to that of the declared one.
        environ: Where values of the environment come from; default: this process's.  What it lacks
            is no mistake of the file, see :meth:`Experiment.unmet`.
        modules: How to learn what modules offer; default: import them in a process of their own.

    Raises:
        InvalidExperiment: The file is not an experiment; carries every mistake, in file order.
    """
    environ = os.environ if environ is None else environ
    try:
        document = _document(path)
    except Unreadable as error:
        raise InvalidExperiment([_problem(path, None, error.finding)]) from None
    draft = _draft(document, variables, environ)
    findings = [*document.findings, *_findings(draft, modules)]
    if findings or draft.file is None:
        problems = {_problem(path, document, finding) for finding in findings}
        raise InvalidExperiment(sorted(problems, key=lambda p: (p.line, p.column, p.where, p.says)))
    return _experiment(path, document, draft, draft.file)


def problems(
    path: Path, *, variables: Mapping[str, str] = NO_VARIABLES, modules: Modules = imported_modules
) -> tuple[Problem, ...]:
    """Return everything that is wrong with the file at *path*; nothing if it can be run."""
    try:
        read(path, variables=variables, modules=modules)
    except InvalidExperiment as error:
        return error.errors
    return ()


def discover(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return the experiment files at and below *paths*, sorted, each once; hidden ones are left out.

    Raises:
        InvalidExperiment: A path does not exist, or holds more than ``FILES_MAX`` files.
    """
    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found.update(_below(path))
        elif path.exists():
            found.add(path)
        else:
            raise InvalidExperiment(
                [_problem(path, None, Finding(where=(), says="there is no such file or folder"))]
            )
    return tuple(sorted(found))


def _below(folder: Path) -> Iterator[Path]:
    files = (path for path in folder.rglob("*") if path.suffix in source.SUFFIXES)
    for count, path in enumerate(files):
        if count >= FILES_MAX:
            says = f"holds more than {FILES_MAX} files; name a folder of experiments"
            raise InvalidExperiment([_problem(folder, None, Finding(where=(), says=says))])
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A document on the way to an experiment; ``file`` is None while its shape is wrong."""

    definition: Any
    file: ExperimentFile | None
    values: Values
    findings: tuple[Finding, ...]


def _document(path: Path) -> Document:
    text = source.text(path)
    parse = jsontext.parse if path.suffix == ".json" else yamltext.parse
    return unfold(parse(text))


def _draft(document: Document, variables: Mapping[str, str], environ: Mapping[str, str]) -> _Draft:
    if not isinstance(document.value, dict):
        says = "is not an experiment, which is a mapping with title, description, method and more"
        finding = Finding(where=(), says=says, instead="gameday validate --schema describes one")
        return _Draft(definition={}, file=None, values=values_of({}, environ), findings=(finding,))
    definition, doubts = with_variables(document.value, variables)
    file, findings = shape_findings(definition)
    return _Draft(
        definition=definition,
        file=file,
        values=values_of(definition, environ),
        findings=(*doubts, *findings),
    )


def _findings(draft: _Draft, modules: Modules) -> Iterator[Finding]:
    yield from draft.findings
    if draft.definition:
        yield from name_findings(draft.definition)
        yield from harm_findings(draft.definition)
        yield from tolerance_findings(draft.definition)
        yield from substitution_findings(draft.definition, draft.values)
        yield from outside_findings(draft.definition, draft.values)
        yield from call_findings(draft.definition, draft.values, modules)


def _problem(path: Path, document: Document | None, finding: Finding) -> Problem:
    place = finding.at or (document.place(finding.where) if document else None)
    return Problem(
        file=str(path),
        line=place.line if place else 0,
        column=place.column if place else 0,
        where=dotted(finding.where),
        says=finding.says,
        instead=finding.instead,
    )


def _experiment(path: Path, document: Document, draft: _Draft, file: ExperimentFile) -> Experiment:
    ours = next(extension for extension in file.extensions if isinstance(extension, GamedayKeys))
    wanted = []
    for where, fields, instead in needs(draft.definition):
        says = f"this machine has no {next(iter(fields))} {next(iter(fields.values()))}"
        problem = _problem(path, document, Finding(where=where, says=says, instead=instead))
        wanted.append(Need(problem=problem, **fields))
    return Experiment(
        path=path,
        title=str(known(draft.values.fill(file.title), file.title)),
        definition=draft.definition,
        allowance=allowance(ours, tags=tuple(file.tags)),
        faults=tuple(_faults(draft)),
        needs=tuple(wanted),
    )


def _faults(draft: _Draft) -> Iterator[Fault]:
    for where, step in fault_steps(draft.definition):
        provider = step["provider"]
        arguments = provider.get("arguments", {})
        yield Fault(
            name=step["name"],
            call=Call(
                func=f"{provider['module']}:{provider['func']}",
                arguments=known(draft.values.fill(arguments), arguments),
            ),
            where=dotted(where),
            background=step.get("background", False),
        )
