"""Masking: what is private goes, what is technical stays, equal things stay equal."""

from __future__ import annotations

import json
import string
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from report.canaries import CANARIES, DOMAIN, HOME, HOST, KNOWN, TECHNICAL, USER, Canary
from xdiag.findings import Finding, Status
from xdiag.model import Target
from xdiag.report.masking import Masker
from xdiag.report.shapes import LABEL

_FUZZ = settings(max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.too_slow])


def _masked(text: str, *before: str) -> str:
    masker = Masker(KNOWN)
    for each in (*before, text):
        masker.learn(each)
    return masker.text(text)


def _survivors(canary: Canary, text: str) -> list[str]:
    return [each for each in canary.private if each.lower() in text.lower()]


_ids = [each.kind for each in CANARIES]


@pytest.mark.parametrize("canary", CANARIES, ids=_ids)
def test_private_data_goes(canary: Canary) -> None:
    assert not _survivors(canary, _masked(canary.text))


@pytest.mark.parametrize("canary", CANARIES, ids=_ids)
@pytest.mark.parametrize(
    "around",
    [
        "{}", "\n{}\n", "x = {};", "see ({}), [{}]", '"{}"', "\x1b[31m{}\x1b[0m", "| {} |",
        "E0112 10:11:12.345 4711 serve.py:17] {}",
    ],
)  # fmt: skip
def test_whatever_is_around_it(canary: Canary, around: str) -> None:
    if canary.kind in (
        "syslog",
        "ls",
        "private key",
        "UTF-16",
        "ssh config",
        "NFS",
        "CIFS",
        "NCCL",
    ):
        pytest.skip("a line or a text of its own")
    assert not _survivors(canary, _masked(around.replace("{}", canary.text)))


@pytest.mark.parametrize("canary", CANARIES, ids=_ids)
def test_within_a_json_document(canary: Canary) -> None:
    for ascii_only in (True, False):
        text = json.dumps({"message": canary.text, "n": [1, canary.text]}, ensure_ascii=ascii_only)
        masked = _masked(text)
        json.loads(masked)
        told = json.dumps(json.loads(masked), ensure_ascii=False)
        assert not _survivors(canary, told)


@pytest.mark.parametrize("text", TECHNICAL)
def test_what_is_technical_stays(text: str) -> None:
    assert _masked(text) == text
    assert _masked(f"2026-01-12 {text}, and\n{text}\n") == f"2026-01-12 {text}, and\n{text}\n"


def test_all_of_it_at_once() -> None:
    together = "\n".join(
        text
        for pair in zip((c.text for c in CANARIES), TECHNICAL * 2, strict=False)
        for text in pair
    )
    masked = _masked(together)
    assert not [each for canary in CANARIES for each in _survivors(canary, masked)]
    lost = [text for text in TECHNICAL[: len(CANARIES)] if text not in masked]
    assert not lost


def test_equal_things_are_recognisably_equal() -> None:
    masked = _masked(
        "/home/qzalice/a and /home/qzbob/b, /home/qzalice/c; 203.0.113.7 met 203.0.113.8 and"
        " 203.0.113.7; TOKEN=qzqzqz11 then qzqzqz11"
    )
    assert masked == (
        "/home/<user-1>/a and /home/<user-2>/b, /home/<user-1>/c; <ip-1> met <ip-2> and <ip-1>;"
        " TOKEN=<secret-1> then <secret-1>"
    )


def test_spellings_of_one_name_are_one() -> None:
    name = "Zoé Qzånary"
    spellings = [
        name, json.dumps(name)[1:-1], quote(name), name.upper(),
        "".join(chr(b) if 33 <= b < 127 else f"\\{b:03o}" for b in name.encode()),
        name.encode("unicode_escape").decode(),
    ]  # fmt: skip
    assert {_masked(each) for each in spellings} == {"<user-1>"}


def test_what_is_told_last_is_masked_in_what_comes_first() -> None:
    masker = Masker()
    first, last = (
        "the worker of qzlate7 said zz9secretzz",
        "login: /home/qzlate7, TOKEN=zz9secretzz",
    )
    for text in (first, last):
        masker.learn(text)
    assert masker.text(first) == "the worker of <user-1> said <secret-1>"


def test_common_names_are_masked_only_where_they_are_names() -> None:
    masked = _masked("/home/stream/x: stream 0x1 made by stream@qznode9:~/x, user ubuntu on Ubuntu")
    assert masked == (
        "/home/<user-1>/x: stream 0x1 made by stream@<host-1>:~/x, user ubuntu on Ubuntu"
    )


def test_a_name_that_could_be_a_part_of_a_build_id() -> None:
    masker = Masker([("user", "deadbee"), ("user", "cafe1")])
    build = "d9394edf37a47338be7311325fdeadbee4afcafe1"
    assert masker.text(f"{build} cafe1 deadbee") == f"{build} <user-1> <user-2>"


def test_records_keep_their_shape() -> None:
    masker = Masker(KNOWN)
    target = Target(platform="hip", runtime=f"/home/{USER}/lib.so", agent="software",
                    environment={"LD_LIBRARY_PATH": HOME, f"{USER}_VAR": "1"})  # fmt: skip
    masked = masker.data((target, [Finding("forecast.agreement", Status.FAIL, f"by {USER}")]))
    read = msgspec.json.decode(msgspec.json.encode(masked), type=tuple[Target, list[Finding]])
    assert read[0].runtime == "/home/<user-1>/lib.so"
    assert read[0].environment == {"LD_LIBRARY_PATH": "<home-1>", "<user-1>_VAR": "1"}
    assert read[1][0].summary == "by <user-1>"
    assert read[1][0].status is Status.FAIL


def test_off_it_changes_nothing() -> None:
    masker = Masker(KNOWN, on=False)
    text = "".join(canary.text for canary in CANARIES)
    masker.learn(text)
    assert masker.text(text) == text
    assert masker.data({"a": text}) == {"a": text}


def test_labels_of_an_earlier_report_are_not_given_to_others() -> None:
    masker = Masker()
    masker.learn("/home/<user-3>/x and /home/qznew/y")
    assert (
        masker.text("/home/<user-3>/x and /home/qznew/y") == "/home/<user-3>/x and /home/<user-4>/y"
    )


# ---- properties ------------------------------------------------------------------------------

_noise = st.text(
    st.sampled_from(string.ascii_letters + string.digits + " \n\t/._-:=@\"'\\<>[]{}(),;|&%~+\0é"),
    max_size=40,
)
_pieces = st.lists(
    st.sampled_from([c.text for c in CANARIES] + list(TECHNICAL)) | _noise, max_size=8
).map("".join)


@_FUZZ
@given(_pieces)
@example("/home/</home/a")
@example("password='<user-1> /home/b'")
def test_masking_twice_is_masking_once(text: str) -> None:
    masker = Masker(KNOWN)
    masker.learn(text)
    once = masker.text(text)
    assert masker.text(once) == once
    again = Masker(KNOWN)
    again.learn(once)
    assert again.text(once) == once


@_FUZZ
@given(st.lists(st.sampled_from([c.text for c in CANARIES] + list(TECHNICAL)) | _noise, max_size=8),
       st.sampled_from(["", " ", "\n", "\t", '"', "\\", "é", "/"]), st.booleans())  # fmt: skip
@example(["a", "git@github.com:x", USER], "\n", True)
def test_a_json_document_stays_one(pieces: list[str], between: str, ascii_only: bool) -> None:
    text = json.dumps({"a": between.join(pieces), "b": pieces}, ensure_ascii=ascii_only)
    assert set(json.loads(_masked(text))) == {"a", "b"}


_words = st.sampled_from(
    "the stream was made by another copy of library and given to thread worker refused call"
    " returned handle event device destroyed context runtime loaded second first queue is not"
    " known".split()
)  # fmt: skip
_plain = st.lists(st.sampled_from(TECHNICAL) | _words, min_size=1, max_size=30)


@_FUZZ
@given(_plain, st.sampled_from([" ", "\n", ", ", " | ", "\t"]))
@example(
    ["secret_handle", ":3:hip_stream.cpp:451 : 12 us: [pid:4711 tid:0x7f02] hipInit ( 0 )"], " "
)
def test_text_without_private_data_is_not_changed(pieces: list[str], between: str) -> None:
    text = between.join(pieces)
    assert _masked(text) == text


@_FUZZ
@given(_noise, st.sampled_from((USER, HOST, DOMAIN, "qzknownsecret1")), _noise)
def test_what_is_known_never_survives(before: str, name: str, after: str) -> None:
    masker = Masker([*KNOWN, ("secret", "qzknownsecret1")])
    text = f"{before}{name}{after}"
    masker.learn(text)
    assert name not in LABEL.sub("", masker.text(text)).lower()


_SHAPED = [
    canary for canary in CANARIES
    if canary.kind in ("AWS", "GitHub", "GitHub, fine", "GitLab", "Slack", "Google", "JWT", "npm",
                       "PyPI")
]  # fmt: skip


@_FUZZ
@given(_noise, st.sampled_from(_SHAPED), _noise)
def test_what_has_a_shape_never_survives(before: str, canary: Canary, after: str) -> None:
    masked = _masked(f"{before}{canary.text}{after}")
    assert not _survivors(canary, masked)


@_FUZZ
@given(st.binary(max_size=2000) | st.text(max_size=400).map(lambda text: text.encode("utf-16")))
def test_any_bytes(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    masker = Masker(KNOWN)
    masker.learn(text)
    masker.text(text).encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "unit",
    ["/home/", "password", "a.", "1.", "a:", "ab:", "-----BEGIN PRIVATE KEY-----", "eyJa", "A",
     "@a", "--token ", '"password":"', "mysql ", "https://", "Linux ", "-rw", "\\", "\0a", "x=",
     "ghp_", "~", "ssh -p ", "docker a.b ", "connect to ", "\\\\a", "groups=1000,", "mpirun -H ",
     "password is ", "password '", "machine a ", "nfs a.b:/x ", "[a:1] ", "scp x ", "http://a@"],
)  # fmt: skip
def test_time_grows_with_the_text(unit: str) -> None:
    """A quarter of a megabyte of what makes a careless pattern go back and forth."""
    import time

    text = unit * (250_000 // len(unit))
    began = time.process_time()
    masker = Masker(KNOWN)
    masker.learn(text)
    masker.text(text)
    assert time.process_time() - began < 8
