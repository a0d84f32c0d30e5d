from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from xdiag.render.text import count, fenced, markdown, number, printable

#: Every code point, surrogates too.
ANY = st.text(st.characters(exclude_categories=()))


@given(ANY)
def test_printable_is_one_printable_line(text):
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")


@given(st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" ")))
def test_printable_leaves_what_is_printable(text):
    assert printable(text) == text


def test_printable_escapes_what_a_terminal_obeys():
    assert printable("a\x1b[2Jb\u202ec\n\udc80") == "a\\x1b[2Jb\\u202ec\\n\\udc80"


@given(ANY)
def test_markdown_shows_exactly_the_text(text):
    tokens = MarkdownIt("commonmark").enable("strikethrough").parseInline(f"x{markdown(text)}x")
    children = tokens[0].children or []
    assert {child.type for child in children} <= {"text", "text_special"}
    assert "".join(child.content for child in children) == f"x{printable(text)}x"


def test_names_of_calls_are_not_cluttered():
    assert markdown("hipStreamGetCaptureInfo_v2(s)") == "hipStreamGetCaptureInfo_v2(s)"


@given(st.text("`a\n"))
def test_a_fence_holds_whatever_is_in_it(text):
    tokens = MarkdownIt("commonmark").parse(fenced(text) + "\n\nafter")
    assert [token.type for token in tokens][:2] == ["fence", "paragraph_open"]
    assert tokens[0].content == f"{text}\n"


def test_numbers_and_counts():
    assert [number(n) for n in (0, -1, 65535, 65536, -(1 << 40))] == [
        "0", "-1", "65535", "0x10000", "0xffffff0000000000",
    ]  # fmt: skip
    assert [count(n, "call") for n in (0, 1, 2)] == ["0 calls", "1 call", "2 calls"]
