"""The bundle: only masked things get in, the same bytes each time, a whole file or none."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile

import pytest

from report.canaries import CANARIES, HOME, HOST, KNOWN, USER
from xdiag.report import bundle
from xdiag.report.bundle import Bundle
from xdiag.report.masking import Masker

MADE = "2026-01-02T03:04:05+00:00"


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_nothing_gets_in_unmasked() -> None:
    made = Bundle(Masker(KNOWN))
    for canary in CANARIES:
        made.add(f"logs/{USER}/{HOST}.log", f"what {USER} said", canary.text)
        made.leave_out(f"{HOME}/x", f"no {USER} here")
    members = _members(made.packed(MADE))
    for name, content in members.items():
        together = (name + content.decode("utf-8", "surrogateescape")).lower()
        for known in (USER, HOST, "qzhome"):
            assert known not in together


def test_the_manifest_tells_what_each_file_is() -> None:
    made = Bundle(Masker(KNOWN))
    made.add("a.txt", "a text", f"by {USER}")
    made.leave_out("matrix", "not asked for")
    members = _members(made.packed(MADE))
    manifest = json.loads(members["MANIFEST.json"])
    assert manifest["schema_version"] == 1
    assert manifest["made"] == MADE
    assert manifest["masked"] is True
    assert manifest["replaced"] == {"user": 1}
    assert manifest["missing"] == [{"part": "matrix", "because": "not asked for"}]
    assert {each["name"] for each in manifest["files"]} == set(members) - {"MANIFEST.json"}
    for each in manifest["files"]:
        assert each["size"] == len(members[each["name"]])
        assert each["sha256"] == hashlib.sha256(members[each["name"]]).hexdigest()


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("logs/a b.log", "logs/a-b.log"),
        ("../../etc/passwd", "etc/passwd"),
        ("/abs/x", "abs/x"),
        ("logs/\x1b]31m\n.log", "logs/31m-.log"),
        ("...", "file"),
        ("MANIFEST.json", "MANIFEST-2.json"),
        (f"logs/{USER}.log", "logs/user-1-.log"),
        ("logs/" + "x" * 300 + ".log", "logs/" + "x" * 96 + ".log"),
        ("logs/\udcff.log", "logs/log"),
    ],
)
def test_names_that_every_file_system_takes(name: str, becomes: str) -> None:
    assert Bundle(Masker(KNOWN)).add(name, "", "") == becomes


def test_two_of_one_name_are_both_kept() -> None:
    made = Bundle(Masker())
    assert [made.add("logs/x.log", "", str(number)) for number in range(3)] == [
        "logs/x.log", "logs/x-2.log", "logs/x-3.log",
    ]  # fmt: skip
    assert [made.text(each.name) for each in made.members] == ["0", "1", "2"]


def test_equal_bundles_are_equal_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    def packed() -> bytes:
        made = Bundle(Masker(KNOWN))
        for number, canary in enumerate(CANARIES):
            made.add(f"{number}.txt", canary.kind, canary.text)
        return made.packed(MADE)

    first = packed()
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    assert packed() == first


def test_what_is_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MOST_BYTES", 1 << 20)
    made = Bundle(Masker())
    made.add("large.txt", "", "x" * (1 << 20))
    made.add("larger.txt", "", "x" * (1 << 20) + "y")
    assert [each.name for each in made.members] == ["large.txt"]
    assert made.missing[0].part == "larger.txt"
