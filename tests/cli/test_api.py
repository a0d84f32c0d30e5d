"""xdiag api as users call it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from xdiag.api.handles import HANDLES
from xdiag.api.questions import QUESTIONS
from xdiag.api.shipped import shipped

Call = Callable[..., subprocess.CompletedProcess[str]]
LABELS = [each.label for each in shipped()]


@pytest.fixture
def api(xdiag: Call) -> Call:
    """Run xdiag api without a runtime."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return xdiag("api", *arguments, fake=False)

    return run


def test_the_overview_has_a_row_per_call_and_fits_a_terminal(
    api: Call, home: dict[str, str]
) -> None:
    home["COLUMNS"] = "80"
    done = api("--version", LABELS[0], "--version", LABELS[-1])
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for question in QUESTIONS:
        assert any(line.startswith(f"hip{question.call} ") for line in lines), question.call
    for measured in shipped():
        told = measured.subject.build_id in done.stdout
        assert told == (measured.label in (LABELS[0], LABELS[-1]))


def test_the_whole_overview_fits_a_terminal_of_100_columns(api: Call, home: dict[str, str]) -> None:
    home["COLUMNS"] = "100"
    done = api()
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert all(f"HIP {label}" in done.stdout for label in LABELS)


def test_answers_of_a_call(api: Call) -> None:
    done = api("--call", "hipStreamQuery", "--version", "5.2")
    assert done.returncode == 0
    row = next(line for line in done.stdout.splitlines() if line.startswith("every bad kind"))
    assert row.split()[-1] == "709"
    assert "asked as hipStreamQuery(h)" in done.stdout
    assert api("--call", "StreamQuery", "--version", "5.2").stdout == done.stdout
    two = api("--call", "hipStreamQuery,hipMemsetAsync", "--version", "5.2").stdout
    assert "asked as hipStreamQuery(" in two and "asked as hipMemsetAsync(" in two


def test_answers_to_a_kind_of_handle(api: Call) -> None:
    done = api("--handle", "foreign", "--version", "5.2")
    lines = [line for line in done.stdout.splitlines() if line.startswith("hip")]
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if len(line.split()) > 1}
    assert rows["hipStreamGetFlags"] == "709"
    assert rows["hipStreamGetDevice"] == "absent"
    assert len(rows) >= len(QUESTIONS)


def test_json_is_what_is_shipped(api: Call) -> None:
    data = json.loads(api("--json").stdout)
    assert [each["subject"]["build_id"] for each in data["measured"]] == [
        each.subject.build_id for each in shipped()
    ]
    small = json.loads(api("--json", "--call", "StreamQuery", "--handle", "foreign").stdout)
    for each in small["measured"]:
        assert list(each["calls"]) == ["StreamQuery"]
        assert list(each["calls"]["StreamQuery"]) == ["foreign"]


def test_csv_has_a_row_per_answer(api: Call) -> None:
    rows = list(csv.DictReader(io.StringIO(api("--format", "csv").stdout)))
    assert len(rows) == len(QUESTIONS) * len(HANDLES) * len(LABELS)
    assert all(row["answers"] or row["reading"] in ("absent", "unasked") for row in rows)
    assert all(row["reason"] for row in rows if row["reading"] == "unasked")


@pytest.mark.parametrize("options", [(), ("--call", "Stream*"), ("--handle", "foreign")])
def test_markdown_is_tables(api: Call, tmp_path: Path, options: tuple[str, ...]) -> None:
    file = tmp_path / "api.md"
    assert api(*options, "-o", str(file)).returncode == 0
    html = MarkdownIt("commonmark").enable("table").render(file.read_text())
    assert html.count("<table>") >= 1 and "hipStreamQuery" in html


@pytest.mark.skipif(len(LABELS) < 2, reason="one version was measured")
def test_changes(api: Call) -> None:
    done = api("--changes", f"{LABELS[0]}..{LABELS[-1]}", "--handle", "foreign")
    assert done.returncode == 0
    assert f"From {LABELS[0]} to {LABELS[-1]}" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("hipStreamGetFlags"))
    assert row.split() == ["hipStreamGetFlags", "foreign", "709", "lies", "(0)"]
    new = done.stdout.partition("\nNew: ")[2].partition(".")[0]
    assert {"hipStreamGetDevice", "hipStreamGetId"} <= set(new.replace("\n", " ").split(", "))
    back = api("--changes", f"{LABELS[-1]}..{LABELS[0]}", "--handle", "foreign", "--json")
    data = json.loads(back.stdout)
    assert data["before"]["version"].startswith(LABELS[-1])
    assert data["after"]["version"].startswith(LABELS[0])
    nothing = api("--changes", f"{LABELS[0]}..{LABELS[0]}")
    assert (nothing.returncode, "nothing changed" in nothing.stdout) == (0, True)


def test_safe_questions(api: Call) -> None:
    data = json.loads(api("--safe", "--json").stdout)
    assert list(data["by_version"]) == LABELS
    assert data["of_all"][0]["call"] == "StreamGetCaptureInfo_v2"
    assert "ask in this order" in api("--safe").stdout


@pytest.mark.parametrize(
    ("version", "shown", "says"),
    [
        ("7.2", "7.2", ""),
        ("7.2.53211", "7.2", ""),
        ("7.2.4", "7.2", ""),
        ("7.9", "7.2", "shown is 7.2, the newest before it"),
        ("4.5", "5.2", "shown is 5.2, the oldest there is"),
    ],
)
def test_safe_questions_of_a_version_that_was_not_measured(
    api: Call, version: str, shown: str, says: str
) -> None:
    done = api("--safe", "--json", "--version", version)
    assert done.returncode == 0
    assert list(json.loads(done.stdout)["by_version"]) == [shown]
    assert (says in done.stderr) if says else done.stderr == ""


def test_between_two_versions_only_what_is_safe_on_both_is_safe(api: Call) -> None:
    done = api("--safe", "--json", "--version", "7.0")
    assert done.stderr == (
        "xdiag: HIP 7.0 was not measured; shown is what is safe on both 6.4 and 7.2, those"
        " around it\n"
    )
    (between,) = json.loads(done.stdout)["by_version"].values()
    sides = [
        {each["call"]: each for each in json.loads(api("--safe", "--json", "--version", v).stdout)
         ["by_version"][v]}
        for v in ("6.4", "7.2")
    ]  # fmt: skip
    for each in between:
        for wrong in ("harmed_by", "fooled_by"):
            either = {kind for side in sides for kind in side.get(each["call"], {}).get(wrong, [])}
            assert set(each.get(wrong, [])) == either, each["call"]
    shown = api("--safe", "--version", "7.0").stdout
    assert "HIP 7.0, not measured: safe on 6.4 and 7.2" in shown
    assert all(measured.subject.build_id in shown for measured in shipped()[-2:])


@pytest.mark.skipif(len(LABELS) < 2, reason="one version was measured")
def test_changes_on_a_narrow_terminal_break_no_word(api: Call, home: dict[str, str]) -> None:
    home["COLUMNS"] = "40"
    lines = api("--changes", f"{LABELS[0]}..{LABELS[-1]}", "-c", "StreamQuery").stdout.splitlines()
    assert max(map(len, lines)) <= 40
    assert lines[0] == "hipStreamQuery"
    home["COLUMNS"] = "100"
    wide = api("--changes", f"{LABELS[0]}..{LABELS[-1]}", "-c", "StreamQuery").stdout
    words = {word for line in lines[: lines.index("")] for word in line.split()}
    assert words <= {*wide.split(), *(f"{label}:" for label in LABELS)}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--safe", "--version", "new"), "'new' is no version"),
        (("--call", "hipStreamQuerry"), "did you mean StreamQuery"),
        (("--handle", "foreigner"), "did you mean foreign"),
        (("--version", "4.9"), "HIP '4.9' was not measured; there is 5.2"),
        (("--changes", "5.2"), "--changes takes two versions"),
        (("--changes", "5.2..4.9"), "HIP '4.9' was not measured"),
        (("--changes", "..5.2"), "--changes takes two versions"),
        (("--changes", ""), "--changes takes two versions"),
        (("--changes", "5.2..", "--safe"), "cannot both be"),
        (("--runtime", "7.2"), "--runtime goes with --measure"),
        (("--rounds", "3"), "--rounds goes with --measure"),
        (("--jobs", "1"), "--jobs goes with --measure"),
        (("--agent", "auto"), "--agent goes with --measure"),
        (("--no-kernel-cache",), "--no-kernel-cache goes with --measure"),
        (("--changes", "5.2..7.2", "--version", "6.4"), "leave --version out"),
        (("--safe", "--call", "StreamQuery"), "no --call"),
        (("--safe", "--handle", "foreign"), "no --handle"),
        (("--call", ""), "an empty name matches no call"),
        (("--call", "StreamQuery,"), "an empty name matches no call"),
        (("--handle", ""), "an empty name matches no kind of handle"),
        (("--version", ""), "HIP '' was not measured"),
        (("--measure", "--version", "new"), "'new' is no version"),
        (("--measure", "--runtime", "7.2", "--version", "7.2"), "not both"),
        (("--json", "--format", "csv"), "cannot both be"),
        (("--safe", "--format", "csv"), "csv is for the table itself"),
    ],
)
def test_wrong_usage_is_one_line(api: Call, options: tuple[str, ...], says: str) -> None:
    done = api(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and says in done.stderr


def test_measuring_needs_a_runtime(api: Call) -> None:
    done = api("--measure", "--runtime", "/nowhere/libamdhip64.so.6")
    assert done.returncode in (2, 3)
    assert done.stderr.startswith("xdiag: ") and "Traceback" not in done.stderr


def test_measuring_on_the_fake_runtime(xdiag: Call, tmp_path: Path) -> None:
    file = tmp_path / "fake.json"
    done = xdiag(
        "api", "--measure", "--rounds", "2", "--call", "StreamQuery,StreamGetFlags,StreamGetId",
        "--handle", "foreign,garbage", "-o", str(file), fault="hipStreamGetFlags=segv",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(file.read_text())["measured"]
    calls, times = found["calls"], 2 * len(found["circumstances"])
    assert times > 8
    assert calls["StreamQuery"]["live"] == {"answers": {"0": times}}
    assert calls["StreamQuery"]["foreign"] == {"answers": {"709": times}}
    # A call that does not succeed with a live stream is not judged.
    assert calls["StreamGetFlags"]["live"] == {"answers": {"SIGSEGV": times}}
    assert "gives SIGSEGV" in calls["StreamGetFlags"]["garbage"]["unasked"]
    assert calls["StreamGetId"]["foreign"] == {"absent": True}


def test_what_a_runtime_does_not_offer_is_a_reason(xdiag: Call, tmp_path: Path) -> None:
    file = tmp_path / "fake.json"
    done = xdiag(
        "api", "--measure", "--rounds", "1", "--call", "LaunchKernel,EventRecord",
        "--handle", "stale-per-thread", "-o", str(file),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    calls = json.loads(file.read_text())["measured"][0]["calls"]
    assert "registration" in calls["LaunchKernel"]["live"]["unasked"]
    assert "registration" in calls["LaunchKernel"]["stale-per-thread"]["unasked"]
    assert list(calls["EventRecord"]["live"]["answers"]) == ["0"]
    shown = xdiag("api", "--measure", "--rounds", "1", "--call", "LaunchKernel").stdout
    assert "not asked" in shown and "Not asked: HIP" in shown


def test_a_version_that_no_runtime_is_of_is_refused_before_anything_is_measured(
    xdiag: Call,
) -> None:
    done = xdiag("api", "--measure", "--changes", "4.1..4.2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "HIP '4.1' is not to be measured" in done.stderr
