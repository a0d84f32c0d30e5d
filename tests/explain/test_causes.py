"""The knowledge base: complete, one wording for all who use it, shown in every form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from xdiag.causes import CAUSES, OF_A_REFUSAL, get
from xdiag.cli import COMMANDS
from xdiag.fixes import FIXES
from xdiag.hypotheses import HYPOTHESES
from xdiag.patterns import PATTERNS
from xdiag.recording.diagnosis import _REMEDIES
from xdiag.render import explanation
from xdiag.render.terminal import printed
from xdiag.repair.catalogue import REPAIRS

PAGE = Path(__file__).parents[2] / "docs" / "causes.md"
#: What the knowledge base may refer to: the reports that were looked at.
REPORTS = {
    "ROCm/mori#402", "sgl-project/sglang#39513", "sgl-project/sglang#39937",
    "triton-lang/triton#3403", "triton-lang/triton#4255", "ROCm/TheRock#2642",
    "ROCm/rocm-libraries#8135", "ROCm/TheRock#7818", "pytorch/pytorch#141014",
}  # fmt: skip


def test_ids_are_unique_and_every_hypothesis_is_a_cause() -> None:
    ids = [cause.id for cause in CAUSES]
    assert len(set(ids)) == len(ids)
    assert {hypothesis.id for hypothesis in HYPOTHESES} <= set(ids)
    assert set(OF_A_REFUSAL) <= set(ids)
    for hypothesis in HYPOTHESES:
        cause = get(hypothesis.id)
        assert (cause.statement, cause.remedy) == (hypothesis.statement, hypothesis.remedy)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.id)
def test_an_entry_is_whole(cause) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", cause.id)
    assert cause.statement and not cause.statement.endswith(".") and cause.signature
    assert cause.remedy and cause.discriminators
    assert set(cause.references) <= REPORTS


def test_every_report_is_referred_to() -> None:
    assert {reference for cause in CAUSES for reference in cause.references} == REPORTS


def test_commands_that_decide_exist() -> None:
    """Whoever copies a command finds what it names."""
    patterns, fixes = {each.id for each in PATTERNS}, {each.id for each in FIXES}
    repairs = {each.id for each in REPAIRS}
    for cause in CAUSES:
        for each in cause.discriminators:
            for command in re.findall(r"xdiag ([a-z]+)", each.command):
                assert command in COMMANDS
            assert set(re.findall(r"--pattern (\S+)", each.command)) <= patterns
            assert set(re.findall(r"--fix (\S+)", each.command)) <= fixes
            assert set(re.findall(r"--repair (\S+)", each.command)) <= repairs


def test_what_a_record_says_to_do_is_the_same() -> None:
    for id, remedy in _REMEDIES.items():
        assert get(id).remedy == remedy
    assert "unknown-handle" not in _REMEDIES


def test_shown_in_every_form() -> None:
    page = explanation.causes_page()
    shown = printed(explanation.show_list, 120)
    for cause in CAUSES:
        assert f"\n## {cause.id}\n" in page and cause.id in shown
        each = " ".join(
            printed(lambda console, c=cause: explanation.show_cause(c, console), 120).split()
        )
        assert cause.statement in each and cause.signature in each
        for discriminator in cause.discriminators:
            assert discriminator.command in page
    meaning = printed(lambda console: explanation.show_code(709, console), 120)
    assert "hipErrorContextIsDestroyed" in meaning and "cudaErrorContextIsDestroyed" in meaning
    assert "no error of HIP's" in printed(lambda console: explanation.show_code(12345, console))
    assert PAGE.read_text() == page


def test_the_page_writes_calls_as_they_are_and_gives_commands() -> None:
    page = explanation.causes_page()
    assert "HipEvent" not in page and "\n    COMMAND\n" not in page


def test_the_command_knows_them() -> None:
    from xdiag.cli.explain import command

    runner = CliRunner()
    listed = runner.invoke(command, ["--list"], standalone_mode=False)
    assert listed.return_value == 0 and all(cause.id in listed.output for cause in CAUSES)
    for word in ("709", "two-runtimes", "hipErrorContextIsDestroyed",
                 "cudaErrorContextIsDestroyed"):  # fmt: skip
        told = runner.invoke(command, [word], standalone_mode=False)
        assert told.return_value == 0 and "two-runtimes" in told.output
