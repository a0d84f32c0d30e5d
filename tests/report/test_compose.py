"""A report as a whole: no canary in any of its bytes, equal each time, whole whatever fails."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from msgspec.structs import replace
from render.conftest import HOSTILE, Factory

from report.canaries import CANARIES, KNOWN, TECHNICAL, Canary
from report.scenes import gathered, known
from xdiag.model import Report
from xdiag.render import doctor as doctor_text
from xdiag.render.issue_page import GITHUB_TAKES, MOST
from xdiag.report.compose import compose
from xdiag.report.gather import Gathered

MADE = "2026-01-02T03:04:05+00:00"


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _composed(seen: Gathered, **options: bool) -> dict[str, bytes]:
    return _members(compose(known(seen, list(KNOWN)), MADE, **options).zip())


#: Those that need no line, and no text, of their own.
_PLANTED = [
    each for each in CANARIES if each.kind not in ("UTF-16", "option in /proc", "CIFS", "NFS")
]


@pytest.mark.parametrize("canary", _PLANTED, ids=[each.kind for each in _PLANTED])
def test_a_canary_in_every_text_is_in_no_byte(tmp_path: Path, canary: Canary) -> None:
    members = _composed(gathered(tmp_path, canary.text))
    assert set(members) >= {
        "REPORT.md", "MANIFEST.json", "doctor.json", "doctor.txt", "runtimes.json", "probes.json",
        "probes.txt", "repairs.json", "repairs.txt", "environment.json", "versions.json",
        "reproducer.c",
    }  # fmt: skip
    assert any(name.startswith("records/") and name.endswith(".xdiag") for name in members)
    assert {"logs/amd.log", "logs/amd.log.txt", "logs/amd.log.json"} <= set(members)
    for name, content in members.items():
        text = content.decode("utf-8", "surrogateescape").lower()
        unfolded = re.sub(r"\s+", "", text)
        for private in canary.private:
            assert private.lower() not in name.lower(), name
            assert private.lower() not in text, name
            assert re.sub(r"\s+", "", private.lower()) not in unfolded, name
        if name.endswith(".json"):
            json.loads(content)


def test_without_masking_it_is_there(tmp_path: Path) -> None:
    """What the test above looks for would be found."""
    canary = next(each for each in CANARIES if each.kind == "GitHub")
    members = _composed(gathered(tmp_path, canary.text), mask=False)
    shown = [name for name, content in members.items() if canary.text.encode() in content]
    assert len(shown) == len(members)
    assert json.loads(members["MANIFEST.json"])["masked"] is False
    assert b"NOT masked" in members["REPORT.md"]


@pytest.mark.parametrize("first", range(0, len(TECHNICAL), 15))
def test_what_is_technical_stays(tmp_path: Path, first: int) -> None:
    some = TECHNICAL[first : first + 15]
    members = _composed(gathered(tmp_path, "\n".join(some)))
    told = members["logs/amd.log"].decode().split("\n")
    assert not [text for text in some if text not in told]
    summary = json.loads(members["doctor.json"])["findings"][1]["summary"]
    assert summary.split("\n") == list(some)


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    seen = known(gathered(tmp_path, "/home/qzalice/x TOKEN=qzqz77qz"), list(KNOWN))
    assert compose(seen, MADE).zip() == compose(seen, MADE).zip()
    assert compose(seen, MADE).page() == compose(seen, MADE).page()


def test_only_the_time_differs(tmp_path: Path) -> None:
    seen = gathered(tmp_path)
    later = "2027-01-02T03:04:05+00:00"
    first, second = _members(compose(seen, MADE).zip()), _members(compose(seen, later).zip())
    assert list(first) == list(second)
    differ = [name for name in first if first[name] != second[name]]
    assert differ == ["REPORT.md", "MANIFEST.json"]
    assert first["REPORT.md"].replace(MADE.encode(), later.encode()) == second["REPORT.md"]


def test_documents_are_read_back(tmp_path: Path) -> None:
    import msgspec

    from xdiag.doctor.examination import Examination
    from xdiag.repair.verify import Trials

    members = _composed(gathered(tmp_path, "of /home/qzalice/x"))
    for name, kind in (
        ("doctor.json", Examination), ("probes.json", Report), ("repairs.json", Trials),
    ):  # fmt: skip
        read = msgspec.json.decode(members[name], type=kind)
        assert "qzalice" not in repr(read)


# ---- the page --------------------------------------------------------------------------------


def _page(seen: Gathered, **options: bool) -> str:
    return compose(known(seen, list(KNOWN)), MADE, **options).page().decode()


def _details(page: str) -> None:
    """Each is closed, whatever is in it, as a reader of Markdown sees it."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(page)
    html = "".join(token.content for token in tokens if token.type == "html_block")
    assert html.count("<details>") == html.count("</details>") == html.count("<summary>") > 3
    assert "html_inline" not in [child.type for token in tokens for child in token.children or ()]


def test_the_page_says_what_was_found_first(tmp_path: Path) -> None:
    page = _page(gathered(tmp_path))
    found = page.index("## What was found")
    assert page.index("a fault was found") < found
    assert found < page.index("FAIL forecast.agreement: two runtimes")
    assert page.index("FAIL forecast") < page.index("<details>")
    assert "the repair to take: xsched-hip-lib" in page
    assert "records/run.xdiag: two-runtimes: stream" in page
    for part in ("The cells", "A fault, step by step", "Versions", "Environment", "reproducer.c"):
        assert part in page
    _details(page)


def test_it_is_tables_lists_and_code_to_a_reader_of_markdown(tmp_path: Path) -> None:
    page = _page(gathered(tmp_path))
    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    kinds = [token.type for token in tokens]
    assert kinds.count("table_open") >= 8
    assert kinds.count("fence") >= 3
    assert not [t for t in tokens if t.type == "inline" and "|---|" in t.content]


def test_alone_it_does_not_speak_of_other_files(tmp_path: Path) -> None:
    seen = gathered(tmp_path)
    assert "Files of this report" in _page(seen)
    assert "Files of this report" not in _page(seen, alone=True)


@pytest.mark.parametrize(
    "planted",
    [HOSTILE, "x" * 9000, "word " * 2000, "line\n" * 2000, "`" * 5000, "|" * 9000,
     "<details>" * 900, "</details>\n<summary>" * 400, "\\" * 9000, "/home/a/ " * 900,
     "日本" * 4000, "\u202e\u0000\x1b[31m" * 900],
    ids=range(12),
)  # fmt: skip
def test_it_is_never_too_long(tmp_path: Path, planted: str) -> None:
    page = _page(gathered(tmp_path, planted))
    assert len(page) < GITHUB_TAKES
    assert page.isprintable() or {c for c in page if not c.isprintable()} <= {"\n"}
    _details(page)


def test_what_is_cut_is_said(tmp_path: Path) -> None:
    seen = gathered(tmp_path)
    seen.reproducer = "\n".join(f"/* line {n} of many */" for n in range(9000))
    page = _page(seen)
    assert MOST * 0.4 < len(page) < GITHUB_TAKES
    assert re.search(r"cut: \d+ lines more", page)
    assert "FAIL forecast.agreement" in page


# ---- what fails ------------------------------------------------------------------------------


def test_a_part_that_fails_is_told_and_the_rest_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("a bug in /home/qzsomebody/x.py")

    monkeypatch.setattr(doctor_text, "document", broken)
    seen = gathered(tmp_path)
    Path(seen.records[0].path).unlink()
    members = _composed(seen)
    missing = {
        each["part"]: each["because"] for each in json.loads(members["MANIFEST.json"])["missing"]
    }
    assert missing["doctor.json"] == "internal error: RuntimeError: a bug in /home/<user-1>/x.py"
    assert "No such file" in missing["records/run.xdiag"]
    assert "doctor.json" not in members and "doctor.txt" in members
    assert b"a bug in" in members["REPORT.md"]


def test_nothing_at_all() -> None:
    members = _composed(Gathered("xdiag report"))
    assert set(members) == {"REPORT.md", "MANIFEST.json"}
    assert b"nothing wrong was found" in members["REPORT.md"]


def test_fault_is_what_any_part_says(tmp_path: Path) -> None:
    assert not Gathered("x").fault
    assert gathered(tmp_path).fault
    seen = gathered(tmp_path)
    assert Gathered("x", records=seen.records).fault
    assert Gathered("x", examination=seen.examination).fault
    assert Gathered("x", trials=seen.trials).fault
    assert not Gathered("x", probes=seen.probes).fault
    cells = (Factory().error(pattern="same-thread"),)
    assert Gathered("x", probes=replace(seen.probes, results=cells)).fault
