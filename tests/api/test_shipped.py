"""The measurements that are shipped: whole, readable, and the page made of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from xdiag.api.handles import BAD, CONTROL, HANDLES
from xdiag.api.measured_data import Document, Measured
from xdiag.api.questions import QUESTIONS
from xdiag.api.readings import Reading, is_answer, readings, succeeded
from xdiag.api.shipped import shipped, version_key
from xdiag.model import SCHEMA_VERSION
from xdiag.render import api_page

FOLDER = Path(api_page.__file__).parents[1] / "api" / "measured"
EACH = pytest.mark.parametrize("measured", shipped(), ids=lambda each: each.label)


def test_the_four_versions_are_there_in_order() -> None:
    assert [each.label for each in shipped()] == ["5.2", "5.7", "6.4", "7.2"]
    assert version_key("5.10") > version_key("5.9") > version_key("5")


def test_each_file_is_one_document_that_survives_a_round_trip() -> None:
    for file in FOLDER.glob("*.json"):
        document = msgspec.json.decode(file.read_bytes(), type=Document)
        assert document.schema_version == SCHEMA_VERSION
        (measured,) = document.measured
        assert file.name == f"hip-{measured.label}.json"
        assert msgspec.json.decode(msgspec.json.encode(document), type=Document) == document


@EACH
def test_every_question_has_an_answer_or_a_reason(measured: Measured) -> None:
    assert list(measured.calls) == [question.call for question in QUESTIONS]
    for call, row in measured.calls.items():
        assert set(row) == {handle.id for handle in HANDLES}, call
        for handle, entry in row.items():
            said = (bool(entry.answers), bool(entry.unasked), entry.absent)
            assert sum(said) == 1, (call, handle)
            assert all(map(is_answer, entry.answers)), (call, handle)
            # Fewer where a new stream was given the address of the one that is gone.
            most = measured.rounds * len(measured.circumstances)
            assert sum(entry.answers.values()) in (0, *range(most // 2, most + 1)), (call, handle)
            ids = {circumstance.id for circumstance in measured.circumstances}
            varied = entry.answers.keys() if len(entry.answers) > 1 else set()
            assert entry.where.keys() == varied, (call, handle)
            assert all(places and set(places) <= ids for places in entry.where.values())


@EACH
def test_what_was_judged_succeeds_with_a_live_stream(measured: Measured) -> None:
    for call, row in measured.calls.items():
        if any(row[handle].answers for handle in BAD):
            control = row[CONTROL].answers
            assert control and all(succeeded(call, answer) for answer in control), call


@EACH
def test_it_says_what_it_was_measured_on(measured: Measured) -> None:
    subject = measured.subject
    assert subject.agent == "software" and len(subject.build_id) == 40
    assert subject.package.startswith("libamdhip64-") and subject.soname.startswith("libamdhip64")
    assert measured.rounds * len(measured.circumstances) >= 8
    assert {each.devices for each in measured.circumstances} == {1, 2}
    assert any(each.fill for each in measured.circumstances)
    assert measured.started[:4] >= "2026"


@EACH
def test_what_the_documentation_allows_does_not_depend_on_what_lies_in_memory(
    measured: Measured,
) -> None:
    for call, row in measured.calls.items():
        for handle in ("live", "null", "per-thread", "garbage"):
            assert len(row[handle].answers) <= 1, (call, handle)


def test_a_foreign_stream_is_a_lie_or_a_crash_by_the_number_of_devices() -> None:
    newest = shipped()[-1]
    entry = newest.calls["MemsetAsync"]["foreign"]
    devices = {each.id: each.devices for each in newest.circumstances}
    told = {answer: {devices[id] for id in ids} for answer, ids in entry.where.items()}
    assert told == {"0": {2}, "SIGSEGV": {1}}


@EACH
def test_few_calls_could_not_be_asked(measured: Measured) -> None:
    unasked = [call for call, row in measured.calls.items() if row["foreign"].unasked]
    assert len(unasked) <= 3
    asked = [call for call, row in measured.calls.items() if row["foreign"].answers]
    assert len(asked) >= 48


def test_facts_that_are_known_from_elsewhere() -> None:
    # Measured before, with other programs, and read in AMD's source.
    by_label = {each.label: each.calls for each in shipped()}
    for label in ("5.2", "5.7", "6.4"):
        for call in ("StreamGetFlags", "StreamGetPriority", "StreamQuery", "StreamSynchronize"):
            for handle in BAD:
                assert list(by_label[label][call][handle].answers) == ["709"]
    assert list(by_label["5.2"]["EventRecord"]["foreign"].answers) == ["400"]
    assert list(by_label["6.4"]["StreamWaitEvent"]["foreign"].answers) == ["400"]
    assert list(by_label["7.2"]["StreamGetFlags"]["foreign"].answers) == ["0"]
    assert readings("StreamQuery", "garbage", by_label["7.2"]["StreamQuery"]["garbage"]) == (
        Reading.CRASHES,
    )
    assert list(by_label["7.2"]["StreamGetDevice"]["foreign"].answers) == ["709"]
    assert by_label["5.2"]["StreamGetDevice"]["foreign"].absent
    assert list(by_label["7.2"]["StreamGetId"]["foreign"].answers) == ["400"]
    assert list(by_label["7.2"]["StreamGetFlags"]["null"].answers) == ["1"]
    assert "SIGSEGV" in by_label["6.4"]["GetStreamDeviceId"]["legacy"].answers


def test_the_page_has_a_heading_for_every_call_and_links_that_lead_somewhere() -> None:
    import re

    page = api_page.page()
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
    for question in QUESTIONS:
        assert f"hip{question.call}".lower() in anchors
    assert len(headings) == len(set(headings))
    for target in re.findall(r"\]\(#([^)]*)\)", page):
        assert target in anchors, target
