"""Files that are no experiments at all: a clear sentence, never a traceback."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.catalog import jsontext, yamltext
from agent.catalog.document import DEPTH_MAX, unfold
from agent.catalog.problem import Unreadable
from agent.catalog.source import BYTES_MAX

if TYPE_CHECKING:
    from tests.catalog.conftest import Bench

BILLION_LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
BROKEN = {
    "empty": (b"", "is empty"),
    "only a comment": (b"# nothing\n", "is empty"),
    "broken YAML": (b"title: [a, b\nmethod: 1\n", "is not YAML"),
    "a tab": (b"a:\n\t- b\n", "is not YAML"),
    "a text": (b"hello", "is not an experiment"),
    "a list": (b"- 1\n", "is not an experiment"),
    "null": (b"~\n", "is not an experiment"),
    "two documents": (b"a: 1\n---\nb: 1\n", "a second document"),
    "a directive": (b"%YAML 1.1\n---\na: 1\n", "directive"),
    "a tag": (b"a: !!python/object/apply:os.system [ls]\n", "has a tag"),
    "a harmless tag": (b"a: !!str 1\n", "has a tag"),
    "a merge key": (b"a: &a {b: 1}\nc: {<<: *a}\n", "read differently"),
    "an alias loop": (b"a: &a [*a]\n", "refers to itself"),
    "an unknown alias": (b"a: *b\n", "refers to itself or to nothing"),
    "a billion laughs": (BILLION_LAUGHS.encode(), "unfolds into more than"),
    "many values": (b"a: [" + b"1," * 100_000 + b"]", "more than"),
    "a deep nest": (b"a: " + b"[" * 5_000, "nested deeper"),
    "a doubled key": (b"title: a\ntitle: b\n", "the key title stands here twice, first on line 1"),
    "a key that is a number": (b"1: a\n", "a key is not a text"),
    "a key that is a list": (b"? [a]\n: b\n", "a key is not a text"),
    "a truth value of YAML 1.1": (b"title: no\n", "no is read differently"),
    "a time of YAML 1.1": (b"title: 10:30\n", "10:30 is read differently"),
    "a date": (b"title: 2026-01-01\n", "read differently"),
    "an octal number": (b"title: 010\n", "read differently"),
    "not UTF-8": ("title: é\n".encode("latin-1"), "is not UTF-8"),
    "UTF-16": ("title: a\n".encode("utf-16-le"), "binary file or UTF-16"),
    "a byte-order mark": (b"\xef\xbb\xbftitle: a\n", "byte-order mark"),
    "binary": (os.urandom(16) + b"\0" * 100, "binary"),
    "a control character": (b"title: \x07\n", "is not YAML"),
    "too large": (b"#" * (BYTES_MAX + 1), "has 1048577 bytes"),
}
BROKEN_JSON = {
    "empty": (b"", "is not JSON: expecting a value"),
    "cut off": (b'{"a": [1, 2', "is not JSON: expecting , or ]"),
    "no colon": (b'{"a" 1}', "is not JSON: expecting : after a key"),
    "a bare key": (b"{a: 1}", "is not JSON: expecting a key"),
    "a trailing comma": (b"[1,]", "is not JSON: expecting a value"),
    "more": (b"{} {}", "more follows"),
    "NaN": (b'{"a": NaN}', "is not JSON"),
    "a huge number": (b'{"a": 1e999}', "too large"),
    "a long number": (b'{"a": ' + b"9" * 5_000 + b"}", "too long"),
    "a deep nest": (b"[" * 100_000, "nested deeper"),
    "a doubled key": (b'{"a": 1,\n "a": 2}', "the key a stands here twice, first on line 1"),
    "an open text": (b'{"a', "is not JSON: unterminated string"),
    "a list": (b"[]", "is not an experiment"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_yaml_that_is_no_experiment_is_refused(bench: Bench, name: str) -> None:
    """Each way for a file not to be YAML, or to be too much of it, has its sentence."""
    content, says = BROKEN[name]
    assert says in "\n".join(map(str, bench.errors(content)))


@pytest.mark.parametrize("name", BROKEN_JSON)
def test_json_that_is_no_experiment_is_refused(bench: Bench, name: str) -> None:
    """Each way for a file not to be JSON has its sentence."""
    content, says = BROKEN_JSON[name]
    assert says in "\n".join(map(str, bench.errors(content, "claim.json")))


@pytest.mark.parametrize(
    ("content", "line", "column"), [("a: 1\nb: [\nc: 2\n", 4, 1), ("a: 1\n\tb: 2\n", 2, 1)]
)
def test_a_syntax_error_has_its_place(bench: Bench, content: str, line: int, column: int) -> None:
    """A syntax error points at the character where reading ended."""
    (error,) = bench.errors(content)
    assert (error.line, error.column) == (line, column)


def test_a_hundred_megabytes_are_refused_unread(bench: Bench) -> None:
    """A huge file is refused by its size; not a byte of it is read."""
    path = bench.folder / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(100 << 20)  # a hole: reading it would give 100 MB of zeros
    started = time.monotonic()
    (error,) = bench.errors_of(path)
    assert "has 104857600 bytes" in error.says
    assert time.monotonic() - started < 5


def test_what_is_not_a_file_is_refused(bench: Bench) -> None:
    """A folder, a pipe without a writer, a missing file and a wrong suffix are told apart."""
    os.mkfifo(bench.folder / "pipe.yaml")
    (bench.folder / "folder.yaml").mkdir()
    (bench.folder / "loop.yaml").symlink_to("loop.yaml")
    says = {
        path: bench.errors_of(bench.folder / path)[0].says
        for path in ("pipe.yaml", "folder.yaml", "loop.yaml", "none.yaml", "x.txt")
    }
    assert says == {
        "pipe.yaml": "is not a regular file",
        "folder.yaml": "cannot be read: Is a directory",
        "loop.yaml": "cannot be read: Too many levels of symbolic links",
        "none.yaml": "cannot be read: No such file or directory",
        "x.txt": ".txt is no experiment file",
    }


def test_the_deepest_nest_is_read() -> None:
    """Nesting up to the limit is read, in both formats."""
    text = "[" * DEPTH_MAX + "]" * DEPTH_MAX
    assert unfold(jsontext.parse(text)).value == unfold(yamltext.parse(text)).value


yamlish = st.text(
    alphabet=st.sampled_from(list("ab01:-?[]{},&*!|>'\"%@`#~. \n\t${}=<\\é\x85\u2028")), max_size=60
)
fuzz = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@fuzz
@given(content=st.binary(max_size=200) | yamlish.map(str.encode), suffix=st.sampled_from([".yaml", ".json"]))
@example(content=b"? ", suffix=".yaml")
@example(content=b'{"\\ud800": "\\ud800"}', suffix=".json")
def test_arbitrary_bytes_only_ever_make_an_invalid_experiment(
    bench: Bench, content: bytes, suffix: str
) -> None:
    """Whatever is in a file, reading it ends in an experiment or in problems that can be printed."""
    errors = bench.errors(content, f"fuzz{suffix}")
    assert errors
    assert all(str(error).encode(errors="replace") for error in errors)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["${victims}", "env", "python", "probe"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=4) | st.sampled_from(["type", "ref", "name", "provider", "tolerance"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


def places(value: object, where: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return every place in *value* but the top."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in pairs for place in [(*where, key), *places(inner, (*where, key))]]


@fuzz
@given(data=st.data())
def test_any_value_anywhere_only_ever_makes_an_invalid_experiment(bench: Bench, data: st.DataObject) -> None:
    """A good experiment with arbitrary values put in anywhere is read or refused, never a traceback."""
    definition = bench.good()
    for _ in range(data.draw(st.integers(1, 3))):
        *before, last = data.draw(st.sampled_from(places(definition)))
        holder = definition
        for step in before:
            holder = holder[step]
        holder[last] = data.draw(json_values)
    errors = bench.errors_of_value(definition)
    assert all(str(error) for error in errors)


@given(text=st.text(max_size=80) | yamlish)
def test_readers_fail_in_one_way_only(text: str) -> None:
    """Both readers return data or say that the text is unreadable."""
    for parse in (jsontext.parse, yamltext.parse):
        with contextlib.suppress(Unreadable):
            unfold(parse(text))
