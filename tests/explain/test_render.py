"""What an explanation looks like: printable, folded, nothing left out."""

from __future__ import annotations

import pytest

from explain.conftest import Explain
from explain.samples import TORCH_709, XSCHED_OLD, Log, healthy
from explain.test_samples import TABLE
from xdiag.explain.facts import Explanation
from xdiag.render import explanation
from xdiag.render.terminal import printed


def shown(found: Explanation, width: int = 100) -> str:
    return printed(lambda console: explanation.show(found, console), width)


@pytest.mark.parametrize("name", TABLE)
def test_everything_that_is_named_is_shown(explained: Explain, name: str) -> None:
    found = explained(*TABLE[name][0])
    text = shown(found)
    flat = " ".join(text.split())
    assert all(len(line) <= 100 for line in text.splitlines())
    for each in found.causes:
        assert f"{each.likelihood} {each.cause} " in flat
        assert " ".join(each.because.split()) in flat
        for discriminator in each.decide:
            assert discriminator.command.split()[0] in flat
        for line in each.lines[:3]:
            assert line.place.rsplit("/", 1)[1] in "".join(text.split())
    assert ("FAIL" in text) == bool(found.failures)
    if not found.fault:
        assert "nothing" in text


def test_a_log_cannot_write_on_the_terminal(explained: Explain) -> None:
    hostile = "\x1b[2J\x1b]0;title\x07\u202e\x00" + XSCHED_OLD.rstrip() + "\x1b[31m\x9b1m\n"
    text = shown(explained(hostile))
    assert "hip error 709" in text
    assert all(character.isprintable() or character == "\n" for character in text)


def test_nothing_found_is_said_in_so_many_words(explained: Explain) -> None:
    assert "nothing in it tells of a fault" in shown(explained("hello\n"))
    assert "nothing wrong was seen" in shown(explained(healthy("5.7")))
    assert "nothing that is known was recognised" in shown(explained("hello\n"), 200)


def test_what_is_left_open_is_told_apart(explained: Explain) -> None:
    text = " ".join(shown(explained(TORCH_709)).split())
    assert (
        "nothing here speaks for these, and nothing excludes them: two-runtimes, truncated-handle,"
        " destroyed-stream, device-reset" in text
    )


def test_a_line_is_printed_once(explained: Explain) -> None:
    text = shown(explained(Log("5.7").start().make().destroy().refuse().text()), 300)
    assert text.count("hipStreamGetFlags: Returned") == 1
    assert "lines above: " in text and ":3, 4, 6, 7" in text


def test_a_fault_without_a_failed_call_is_announced(explained: Explain) -> None:
    assert "no call that fails is in it" in shown(explained(*TABLE["maps of two"][0]))
    two = explained(Log("6.3").library("/a/libamdhip64.so.6").library("/b/libamdhip64.so.6").text())
    text = " ".join(shown(two).split())
    assert "nothing wrong" not in text and "whether anything is wrong it does not tell" in text


def test_a_call_without_a_return_line_has_a_headline(explained: Explain) -> None:
    log = Log("5.2").start().make_event().destroy_event().destroy_event(error=None)
    assert "FAIL  hipEventDestroy: no return line" in shown(explained(log.text()))


def test_many_failures_are_cut(explained: Explain) -> None:
    log = Log("5.7").start()
    for number in range(40):
        log.refuse(0x7F00_0000_0000 + number * 0x1000)
    text = shown(explained(log.text()))
    assert text.count("FAIL") == 12 and "and 28 failures more" in text
