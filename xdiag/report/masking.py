"""Private data taken out of texts, equal things by equal names: ``<user-1>``, ``<secret-2>``.

A ``Masker`` knows names and secrets of this machine beforehand, learns others from the texts that
it is shown (``learn``), and then masks (``text``): what it knows wherever it stands, and whatever
looks private by its shape.  Masking twice is masking once.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec

from xdiag.report import addresses, assignments, hosts, numbers, people, secrets
from xdiag.report.shapes import KINDS, LABEL, Span
from xdiag.report.vocabulary import vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Anything = TypeVar("Anything")

#: Names and secrets that are remembered; what is beyond is masked only where it looks private.
_MOST_KNOWN = 1000
#: From this length on a name is masked within other words too.
_ANYWHERE = {"secret": 6, "email": 6, "ip": 7, "domain": 5, "home": 4}
_ANYWHERE_NAME = 5
_SHORTEST = 3
_MOST_ROUNDS = 5
#: Characters of the strings that are remembered with what became of them.
_MOST_DONE = 16 << 20
#: What each costs besides.
_OVERHEAD = 200

#: Characters of UTF-16 in a text that is otherwise not, little- and big-endian.
_WIDE = re.compile(r"(?:[\x09\x0a\x0d\x20-\x7e]\x00){4,}|(?:\x00[\x09\x0a\x0d\x20-\x7e]){4,}")
#: Of terminals, as they are and as JSON, Python and C write them.
_ESCAPES = re.compile(r"(?:\x1b|\\u001[bB]|\\x1b|\\033)\[[0-9;?]{0,32}[A-Za-z]")
#: Letters that JSON has after a backslash, and an escape whose end is missing.
_ESCAPED = ("n", "r", "t", "b", "f", "/", '"', "\\")
_CUT_ESCAPE = re.compile(r"\\u[0-9A-Fa-f]{0,3}\Z")
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]+")
_BEGIN, _END = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])"


class Masker:
    """Takes private data out of all that goes into one report; with ``on`` False, nothing."""

    def __init__(self, known: Iterable[tuple[str, str]] = (), *, on: bool = True) -> None:
        self.on = on
        #: What is known: as it is compared -> its kind.
        self._known: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._domains: list[str] = []
        #: Number of each thing among its kind.
        self._numbers: dict[tuple[str, str], int] = {}
        self._last = dict.fromkeys(KINDS, 0)
        self._patterns: dict[str, re.Pattern[str]] = {}
        #: Strings of records, of which many are alike, and how long they are together.
        self._done: dict[str, str] = {}
        self._done_size = 0
        for kind, value in known:
            self.know(kind, value)

    @property
    def counts(self) -> dict[str, int]:
        """How many different things of each kind were masked."""
        found = dict.fromkeys(KINDS, 0)
        for kind, _ in self._numbers:
            found[kind] += 1
        return {kind: count for kind, count in found.items() if count}

    def know(self, kind: str, value: str) -> None:
        """Have ``value`` masked wherever it stands, as far as it is more than a common word."""
        value = value.strip()
        key = _key(kind, value)
        if key in self._known or len(self._known) >= _MOST_KNOWN or LABEL.search(value):
            return
        if kind == "domain":
            self._domains.append(value)
        elif _pattern(kind, value) is None:
            return
        self._done.clear()
        self._done_size = 0
        self._known[key] = kind
        self._texts[key] = value

    def learn(self, text: str) -> None:
        """Remember what is private in ``text``, to be masked in all others as well."""
        if not self.on:
            return
        text = _readable(text)
        for label in LABEL.findall(text):
            # Of a text that was masked before: its numbers are not given to others.
            kind, _, number = label.strip("\\<>&lgt;").partition("-")
            if kind in self._last and number.isdecimal():
                self._last[kind] = max(self._last[kind], int(number))
        for span in sorted(spans(text), key=lambda each: (each.start, each.end)):
            if span.learn:
                whole = _whole_escapes(text, span)
                self.know(whole.kind, text[whole.start : whole.end])

    def learn_from(self, data: Any) -> None:
        """Remember what is private in records: their strings, side by side as in a document."""
        if self.on and data is not None:
            self.learn(json.dumps(_plain(data), ensure_ascii=False))

    def text(self, text: str) -> str:
        """``text`` without private data."""
        if not self.on:
            return text
        text = _readable(text)
        # A label ends a word, and so may show something that was a part of one before.
        for _ in range(_MOST_ROUNDS):
            before, text = text, self._once(text)
            if text == before:
                break
        return text

    def _once(self, text: str) -> str:
        merged = _merged(text, [*spans(text), *self._known_in(text)])
        if not merged:
            return text
        parts, at = [], 0
        for span in _apart_from_labels(text, merged):
            parts += [text[at : span.start], self._label(span.kind, text[span.start : span.end])]
            at = span.end
        return "".join([*parts, text[at:]])

    def data(self, data: Anything) -> Anything:
        """The same records and containers with every string in them masked.

        Words of a fixed vocabulary (enumerations) stay as they are, and so do fields' names.
        """
        return self._data(data) if self.on else data

    def _data(self, data: Any) -> Any:
        if type(data) is str:
            return self._string(data)
        if isinstance(data, msgspec.Struct):
            changed = {}
            for field in data.__struct_fields__:
                before = getattr(data, field)
                after = self._data(before)
                if after is not before:
                    changed[field] = after
            return msgspec.structs.replace(data, **changed) if changed else data
        if isinstance(data, dict):
            return {self._data(key): self._data(value) for key, value in data.items()}
        if type(data) in (tuple, list):
            return type(data)(map(self._data, data))
        return data

    def _string(self, text: str) -> str:
        if text not in self._done:
            if self._done_size > _MOST_DONE:
                self._done.clear()
                self._done_size = 0
            self._done[text] = self.text(text)
            self._done_size += len(text) + _OVERHEAD
        return self._done[text]

    # ---- what is known -----------------------------------------------------------------------

    def _known_in(self, text: str) -> Iterable[Span]:
        lower = text.lower()
        for key, kind in self._known.items():
            if kind == "domain":
                continue
            pattern = self._patterns.get(key)
            if pattern is None:
                pattern = self._patterns[key] = _pattern(kind, self._texts[key]) or _NEVER
            # Looking first is a hundred times as quick.
            known = self._texts[key]
            if known.isascii() and known.isalnum() and known.lower() not in lower:
                continue
            for match in pattern.finditer(text):
                yield Span(match.start(), match.end(), kind)
        for domain in self._domains:
            if domain.lower() in lower:
                whole = rf"(?:[A-Za-z0-9_-]{{1,63}}\.){{0,6}}{re.escape(domain)}"
                for match in re.finditer(whole, text, re.IGNORECASE):
                    is_it = match[0].lower() == domain.lower()
                    yield Span(match.start(), match.end(), "domain" if is_it else "host")

    def _label(self, kind: str, value: str) -> str:
        key = _key(kind, value)
        kind = self._known.get(key, kind)
        number = self._numbers.get((kind, key))
        if number is None:
            number = self._last[kind] = self._last[kind] + 1
            self._numbers[kind, key] = number
        return f"<{kind}-{number}>"


def spans(text: str) -> Iterator[Span]:
    """All that looks private in ``text``, in no order; spans may overlap."""
    lower = text.lower()
    if len(lower) != len(text):  # a letter that becomes two, such as İ
        lower = "".join(c.lower() if c.isascii() else c for c in text)
    for shape in (*secrets.SHAPES, *people.SHAPES, *hosts.SHAPES):
        yield from shape.spans(text, lower)
    yield from assignments.spans(text, lower)
    yield from numbers.spans(text, lower)
    yield from addresses.spans(text)


_NEVER = re.compile(r"(?!)")


def _key(kind: str, value: str) -> str:
    """What is compared: names as people write them, secrets as they are."""
    if kind == "secret":
        return value
    return unicodedata.normalize("NFC", _unescaped(value)).lower().rstrip("/")


def _unescaped(value: str) -> str:
    """A name as it was before JSON or a URL wrote it."""
    from urllib.parse import unquote

    value = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), value)
    return unquote(value) if "%" in value else value


def _pattern(kind: str, value: str) -> re.Pattern[str] | None:
    """What finds a name or secret in all its spellings; None where it is too common a word."""
    if len(value) < _SHORTEST or value.lower() in vocabulary():
        return None
    if kind == "uid" or (kind != "secret" and value.isdecimal() and len(value) < 4):
        return None
    if kind == "secret" and not _is_telling(value):
        return None
    spellings = {re.escape(each) for each in _spellings(value)}
    alternatives = "|".join(sorted(spellings, key=lambda each: (-len(each), each)))
    # What could be a part of a build id or a handle has to stand alone.
    numeric = _HEXADECIMAL.fullmatch(value) is not None and len(value) < 16
    anywhere = len(value) >= _ANYWHERE.get(kind, _ANYWHERE_NAME) and not numeric
    if kind == "mac" or (kind == "ip" and ":" in value):
        begin, end = r"(?<![0-9A-Fa-f:])", r"(?![0-9A-Fa-f:])"
    elif kind == "ip":
        begin, end = r"(?<![\d.])", r"(?!\d)(?!\.\d)"
    elif kind == "home":
        # The end of a longer path is not told from it, unless it is as short as /work.
        begin = "" if value.count("/") > 1 else r"(?<![\w.-])"
        end = r"(?![\w-])(?!\.\w)"
    elif anywhere:
        begin = end = ""
    else:
        begin, end = _BEGIN, _END
    flags = re.IGNORECASE if kind not in ("secret", "home") else 0
    return re.compile(f"{begin}(?:{alternatives}){end}", flags)


def _is_telling(secret: str) -> bool:
    """Whether a secret is more than a word or a small number that stands elsewhere as well."""
    if len(secret) < 4 or secret.lower() in vocabulary():
        return False
    if secret.isdecimal():
        return len(secret) >= 8
    return len(secret) >= 6 or (
        any(c.isdigit() for c in secret) and any(c.isalpha() for c in secret)
    )


def _spellings(value: str) -> Iterable[str]:
    """How JSON, URLs, Markdown, HTML, C and Python write a text, and other encodings of it."""
    forms = {value}
    if not value.isascii():
        forms |= {unicodedata.normalize(form, value) for form in ("NFC", "NFD")}
    for form in tuple(forms):
        yield form
        if form.isascii() and form.isalnum():
            continue
        yield json.dumps(form)[1:-1]
        yield json.dumps(form, ensure_ascii=False)[1:-1]
        yield form.replace("/", r"\/")
        yield json.dumps(form)[1:-1].replace("/", r"\/")
        yield html.escape(form)
        yield re.sub(r"([\\`*\[\]<>|~&_])", r"\\\1", form)
        yield form.encode("unicode_escape", "backslashreplace").decode("ascii")
        encoded = form.encode("utf-8", "surrogateescape")
        yield "".join(_octal(byte) for byte in encoded)
        yield "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in encoded)
        for safe in ("/", "", "@:/", "@"):
            yield quote(form, safe=safe, errors="surrogateescape")
        if not form.isascii():
            try:
                yield form.encode("latin-1").decode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                continue


def _octal(byte: int) -> str:
    """As the kernel and C write a byte: letters as they are, the rest in octal."""
    return chr(byte) if 33 <= byte < 127 and byte != 92 else f"\\{byte:03o}"


# ---- spans -----------------------------------------------------------------------------------


def _whole_escapes(text: str, span: Span) -> Span:
    """The span without a part of an escape: of a line's end in JSON, its n.

    Without its letter the backslash would be left alone, and the document be none.
    """
    start, end = span.start, span.end
    if _backslashes(text, start) % 2:
        if text[start : start + 1] == "u" and _HEXADECIMAL.fullmatch(text[start + 1 : start + 5]):
            start += 5
        elif text[start : start + 1] in _ESCAPED:
            start += 1
    if _backslashes(text, end) % 2:
        end -= 1
    elif (cut := _CUT_ESCAPE.search(text, max(0, end - 6), end)) is not None:
        end = min(len(text), cut.start() + 6)
    return Span(start, end, span.kind, span.learn)


def _backslashes(text: str, end: int) -> int:
    """How many there are before ``end``."""
    first = end
    while first > 0 and text[first - 1] == "\\":
        first -= 1
    return end - first


def _merged(text: str, found: list[Span]) -> list[Span]:
    """Spans in order; those that overlap as one, of the kind of the one that begins first."""
    merged: list[Span] = []
    whole = [_whole_escapes(text, span) for span in found]
    for span in sorted(whole, key=lambda each: (each.start, -each.end, each.kind)):
        if span.start >= span.end:
            continue
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            if span.end > last.end:
                merged[-1] = Span(last.start, span.end, last.kind)
        else:
            merged.append(span)
    return merged


def _apart_from_labels(text: str, merged: list[Span]) -> Iterable[Span]:
    """The spans that hold more than labels, each with the labels whole that it touches."""
    labels = [match.span() for match in LABEL.finditer(text)]
    if not labels:
        return merged
    widened, first = [], 0
    for span in merged:
        # Both are in order: what ends before this span touches none that follows.
        while first < len(labels) and labels[first][1] <= span.start:
            first += 1
        last = first
        while last < len(labels) and labels[last][0] < span.end:
            last += 1
        touched = labels[first:last]
        start = min([span.start, *(s for s, _ in touched[:1])])
        end = max([span.end, *(e for _, e in touched[-1:])])
        bare = LABEL.sub("", text[start:end])
        if touched and not any(character.isalnum() for character in bare):
            continue
        widened.append(Span(start, end, span.kind))
    return _merged(text, widened)


def _readable(text: str) -> str:
    """A text without what hides words in it: colours of terminals, the zeros of UTF-16."""
    if "\x1b" in text or "\\" in text:
        text = _ESCAPES.sub("", text)
    if "\0" not in text:
        return text
    return _WIDE.sub(lambda match: match[0].replace("\0", ""), text)


def _plain(data: Any) -> Any:
    return msgspec.to_builtins(data, str_keys=True, enc_hook=str)
