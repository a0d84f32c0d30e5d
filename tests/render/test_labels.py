from __future__ import annotations

import pytest

from xdiag.model import OutcomeKind
from xdiag.render import seen
from xdiag.render.labels import NO_RESULT, STYLES, Label, explain, label, legend
from xdiag.render.styles import CSS, TERMINAL


def test_every_kind_has_its_label_and_style(make):
    cases = make.every_kind()
    assert {result.outcome.kind for result, _, _ in cases} == set(OutcomeKind)
    for result, text, style in cases:
        assert label(result) == Label(text, style), result.cell.id


def test_every_style_has_a_look():
    assert set(TERMINAL) == set(CSS) == set(STYLES)


def test_an_error_in_the_set_up_is_told_from_a_fault_in_the_use(make):
    in_setup, in_use = make.error(step=1, code=709), make.error(step=4, code=709)
    assert label(in_setup) == Label("setup: 709", "setup")
    assert label(in_use) == Label("709", "refused")
    assert "before any use" in explain(in_setup) and "before any use" not in explain(in_use)


def test_ends_without_particulars_have_labels_too(make):
    assert label(make.ended("crash")).text == "crash"
    assert label(make.ended("exit")).text == "exit"
    assert label(make.result("crash", signal="SIGKILL", trace=())).text == "KILL"


def test_a_label_is_printable(make):
    assert label(make.ended("crash", signal="\x1b[31m")).text == "\\x1b[31m"


def test_legend_has_what_occurs_and_nothing_else(make):
    ok, refused = make.result(), make.error()
    entries = legend([refused, ok, refused], make.target())
    assert entries == [
        (Label("ok", "ok"), "no call failed"),
        (Label("709", "refused"), "a call returned 709 (hipErrorContextIsDestroyed)"),
    ]
    assert legend([], make.target(), complete=False)[0][0] == NO_RESULT


def test_legend_of_two_facts_tells_both(make):
    died = make.ended("hang", step=4, code=709, name="hipErrorContextIsDestroyed")
    ((_, meaning),) = legend([died], make.target())
    assert meaning == (
        "a call returned 709 (hipErrorContextIsDestroyed), and a call did not return in time"
    )


def test_legend_warns_of_ok_on_hip_7_only(make):
    on_7 = dict(legend([make.result()], make.target(version="7.2.4")))
    on_6 = dict(legend([make.result()], make.target(version="6.4.3")))
    assert "HIP 7 checks the handle in few calls" in on_7[Label("ok", "ok")]
    assert on_6[Label("ok", "ok")] == "no call failed"


@pytest.mark.parametrize(
    ("version", "platform", "expected"),
    [
        ("5.2.21151", "hip", (5, 2)),
        ("HIP 7.2.4-abc", "hip", (7, 2)),
        ("", "hip", None),
        ("12.4", "cuda", None),
    ],
)
def test_hip_version(make, version, platform, expected):
    assert seen.hip_version(make.target(version=version, platform=platform)) == expected


def test_copies_are_told_apart_by_device_inode_and_namespace(make):
    one, two = make.identity(1), make.identity(2)
    elsewhere = make.identity(1, namespace=1)
    result = make.result(runtimes={"A": one, "B": two, "C": one, "D": elsewhere})
    assert [[name for name, _ in copy] for copy in seen.copies(result.outcome)] == [
        ["A", "C"], ["B"], ["D"],
    ]  # fmt: skip


def test_legend_says_where_a_second_copy_does_not_even_start(make):
    cells = [
        make.ended("crash", at=1, signal="SIGSEGV", pattern=pattern)
        for pattern in ("same-thread", "second-runtime-deepbind")
    ]
    for order in (cells, cells[::-1]):
        ((mark, meaning),) = legend(order, make.target())
        assert mark == Label("setup: SEGV", "setup")
        assert meaning.endswith("hipInit crashes")
        assert meaning.count("second-runtime-deepbind: Where the program is no PIE") == 1
    ((_, meaning),) = legend(cells[:1], make.target())
    assert "PIE" not in meaning
