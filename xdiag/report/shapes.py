"""The nouns of masking: a span that is private, the label in its place, a shape to look for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdiag.report.vocabulary import vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: What a masked thing can be.
KINDS = ("user", "host", "domain", "home", "secret", "ip", "mac", "email", "account", "uid")

#: What stands in the place of something masked, also as Markdown, HTML and JSON write it.
LABEL = re.compile(
    rf"(?:\\?<|&lt;|\\u003[cC])(?:{'|'.join(KINDS)})-\d{{1,9}}(?:\\?>|&gt;|\\u003[eE])"
)

#: What no word of a sentence has: a digit, or capitals within.
_NEVER_PROSE = re.compile(r"[0-9]|[a-z][A-Z]|[A-Z]{2}")

#: Places that everybody has something at.
_EVERYBODYS_HOSTS = ("github.com", "gitlab.com", "huggingface.co", "localhost")


@dataclass(frozen=True)
class Span:
    """A stretch of a text that is private."""

    start: int
    end: int
    kind: str
    #: Whether the same text is to be masked wherever else it stands.
    learn: bool = False


@dataclass(frozen=True)
class Shape:
    """What something private looks like, whatever is around it.

    Patterns are linear in the text: repetitions are bounded, or exclude what ends them.  A group
    called ``private`` is what is to be masked; one with the name of a kind likewise, as of that
    kind; without any, the whole match is.
    """

    kind: str
    pattern: re.Pattern[str]
    #: Lower-case texts of which one has to be there: looking for them is much quicker.
    needles: tuple[str, ...] = ()
    learn: bool = False
    accepts: Callable[[str], bool] = lambda value: True
    #: Of what is accepted and would be learned: whether it is no common word elsewhere.
    tells: Callable[[str], bool] = lambda value: True

    def spans(self, text: str, lower: str) -> Iterator[Span]:
        """Where it is in ``text``, which is ``lower`` in lower case."""
        if self.needles and not any(needle in lower for needle in self.needles):
            return
        for match in self.pattern.finditer(text):
            named = [name for name, value in match.groupdict().items() if value]
            groups = [name for name in named if name == "private" or name in KINDS] or [""]
            for name in groups:
                start, end = match.span(name) if name else match.span()
                value = text[start:end]
                if self.accepts(value):
                    learn = self.learn and self.tells(value)
                    yield Span(start, end, name if name in KINDS else self.kind, learn)


def is_common(name: str) -> bool:
    """Whether a name is a word of the trade, a number, or a label."""
    lower = name.lower()
    known = lower in vocabulary() or lower in _EVERYBODYS_HOSTS
    return known or name.isdecimal() or LABEL.fullmatch(name) is not None


def is_uncommon(name: str) -> bool:
    """Whether a name may be somebody's."""
    return not is_common(name)


def is_no_prose(value: str) -> bool:
    """Whether ``value`` is no word of a sentence."""
    return _NEVER_PROSE.search(value) is not None
