"""Lines for a shell: what they say is what a real shell then has; Docker's quoting."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xdiag.launch import audit_library
from xdiag.repair.lines import PLACES
from xdiag.repair.repair import Change

#: A value of a variable: anything but NUL, as UTF-8.
VALUES = st.text(
    st.characters(min_codepoint=1, max_codepoint=0x2FFF, exclude_categories=("Cs",)), max_size=30
)


def _after(lines: list[str], name: str, environ: dict[str, str]) -> str:
    """What the variable is in a shell that has read the lines."""
    script = "\n".join([*lines, f'printf %s "${name}"'])
    done = subprocess.run(
        ["/bin/sh", "-c", script], env=environ, capture_output=True, check=True, timeout=10
    )
    return done.stdout.decode()


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_a_shell_sets_exactly_the_value(value: str) -> None:
    assert _after(PLACES["shell"](Change(set={"V": value})), "V", {}) == value
    assert _after(PLACES["slurm"](Change(set={"V": value})), "V", {"V": "before"}) == value


@settings(max_examples=40, deadline=None)
@given(VALUES.filter(bool), VALUES)
def test_a_list_keeps_what_is_there(value: str, earlier: str) -> None:
    assume(value not in earlier.split(":"))
    change = Change(in_front={"V": value})
    expected = f"{value}:{earlier}" if earlier else value
    assert _after(PLACES["shell"](change), "V", {"V": earlier}) == expected
    # As the same change does to an environment.
    assert change.applied({"V": earlier})["V"] == expected


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("/opt/a b/lib.so", 'ENV V="/opt/a b/lib.so"'),
        ("$HOME", 'ENV V="\\$HOME"'),
        ('a"b\\c', 'ENV V="a\\"b\\\\c"'),
    ],
)
def test_a_dockerfile_quotes_what_docker_would_replace(value: str, line: str) -> None:
    # Dockerfile reference, "Environment replacement" and "ENV".
    assert PLACES["dockerfile"](Change(set={"V": value})) == [line]


def test_a_dockerfile_keeps_what_is_there() -> None:
    lines = PLACES["dockerfile"](Change(in_front={"LD_AUDIT": "/x/audit.so"}))
    assert lines == ['ENV LD_AUDIT="/x/audit.so${LD_AUDIT:+:$LD_AUDIT}"']


def test_what_is_in_front_already_is_not_put_there_again() -> None:
    change = Change(in_front={"P": "/x"})
    assert change.applied({"P": "/y::/x"}) == {"P": "/x:/y:"}


def test_a_dockerfile_says_which_path_is_xdiags_own() -> None:
    lines = PLACES["dockerfile"](Change(in_front={"LD_AUDIT": audit_library.path()}))
    assert lines[0].startswith("# ")
    assert "install xdiag in the image" in lines[1]


def test_changes_are_made_together() -> None:
    first = Change({"A": "1"}, {"P": "/one"})
    both = first | Change({"A": "2", "B": "3"}, {"P": "/two", "Q": "/three"})
    assert both.applied({"P": "/zero"}) == {
        "A": "2", "B": "3", "P": "/two:/one:/zero", "Q": "/three",
    }  # fmt: skip
