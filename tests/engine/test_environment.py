"""What a warm parent is started with: filled in, and in front of what is there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from xdiag.engine.environment import start_environment
from xdiag.errors import CannotRun
from xdiag.launch import audit_library

if TYPE_CHECKING:
    from xdiag.engine.messages import Paths
    from xdiag.model import Target


def test_lists_come_before_what_is_there(
    fake_target: Target, fake_paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/users/own:/of/the/target")
    monkeypatch.setenv("LD_PRELOAD", "/users/one.so /users/other.so")
    monkeypatch.delenv("LD_AUDIT", raising=False)
    target = replace(fake_target, library_path=("/of/the/target", "/agent"))
    asked = {
        "LD_LIBRARY_PATH": "{first_directory}:{copy_directory}",
        "LD_PRELOAD": "{first}",
        "LD_AUDIT": "{audit}",
        "ANYTHING": "in {copy_directory}/x:y",
    }
    start = start_environment(asked, target, fake_paths)
    first, copy = fake_paths.first_directory, fake_paths.copy_directory
    told = start.variables
    assert told["LD_LIBRARY_PATH"] == f"{first}:{copy}:/of/the/target:/agent:/users/own"
    assert told["LD_PRELOAD"] == f"{fake_paths.first}:/users/one.so:/users/other.so"
    assert told["LD_AUDIT"] == audit_library.path()
    assert told["ANYTHING"] == f"in {copy}/x:y"
    assert start.mapped == (fake_paths.first, audit_library.path())


def test_what_the_user_has_stays_as_it_is(
    fake_target: Target, fake_paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An empty entry means the working directory, and is the user's to have.
    monkeypatch.setenv("LD_LIBRARY_PATH", "/users/own:")
    monkeypatch.setenv("LD_AUDIT", audit_library.path())
    plain = start_environment({}, fake_target, fake_paths)
    assert plain.variables == dict(os.environ) and plain.mapped == ()
    under = start_environment({"LD_AUDIT": "{audit}"}, fake_target, fake_paths)
    assert under.variables["LD_AUDIT"] == audit_library.path()  # once
    assert under.variables["LD_LIBRARY_PATH"] == "/users/own:"


def test_a_target_that_preloads_the_agent_keeps_it(fake_target: Target, fake_paths: Paths) -> None:
    target = replace(fake_target, environment={"LD_PRELOAD": "/the/agent.so"})
    start = start_environment({"LD_PRELOAD": "{first}"}, target, fake_paths)
    assert start.variables["LD_PRELOAD"] == f"{fake_paths.first}:/the/agent.so"
    assert start.mapped == (fake_paths.first,)  # the agent is not the cell's to ask for


def test_xdiag_under_xdiag_run_does_not_redirect_its_cells(
    fake_target: Target, fake_paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDIAG_UNIFY", "XDIAG_RECORD", "XDIAG_KEEP"):
        monkeypatch.setenv(name, "libamdhip64")
    plain = start_environment({}, fake_target, fake_paths)
    assert not {name for name in plain.variables if name.startswith("XDIAG_UNIFY")}
    assert not {"XDIAG_RECORD", "XDIAG_KEEP"} & set(plain.variables)
    under = start_environment({"XDIAG_UNIFY": "libamdhip64"}, fake_target, fake_paths)
    assert under.variables["XDIAG_UNIFY"] == "libamdhip64"


@pytest.mark.parametrize(
    ("variable", "path"),
    [("LD_PRELOAD", "/a b/x.so"), ("LD_AUDIT", "/a:b/x.so"), ("LD_LIBRARY_PATH", "/a;b")],
)
def test_a_path_that_the_loader_would_cut_is_refused(
    fake_target: Target, fake_paths: Paths, variable: str, path: str
) -> None:
    paths = replace(fake_paths, first=path)
    with pytest.raises(CannotRun, match=f"cannot be in {variable}"):
        start_environment({variable: "{first}"}, fake_target, paths)


def test_an_unknown_placeholder_is_an_error_of_ours(fake_target: Target, fake_paths: Paths) -> None:
    with pytest.raises(ValueError, match=r"\{frist\}"):
        start_environment({"LD_PRELOAD": "{frist}"}, fake_target, fake_paths)
