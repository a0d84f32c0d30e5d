"""Private data by the name beside it: NAME=value, "name": "value", --name value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xdiag.report.hosts import is_host, is_telling
from xdiag.report.shapes import Span, is_common, is_no_prose

if TYPE_CHECKING:
    from collections.abc import Iterator

#: In a name, whatever is around it: the value is a secret.
_STRONG = re.compile(
    r"(?i)passw(?:or)?d|passphrase|passcode|(?<![a-z])pwd\Z|secret|api[_.-]?key|access[_.-]?key|private[_.-]?key"
    r"|account[_.-]?key|encryption[_.-]?key|credential|auth[_.-]?key|token(?![a-z]|_?count|_?ids?\b)"
)
#: As one of a name's words: the value is a secret if it looks like one.
_WEAK = frozenset(
    """
    key auth authorization session cookie pass passwd signature dsn jwt otp pin salt tokens
    connection bearer
    """.split()  # noqa: SIM905
)
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
#: Variables of which the name sounds secret and the value is not.
_HARMLESS = re.compile(
    r"XDG_SESSION_\w+|.*-stdin|\w+_SOCK|DBUS_SESSION_BUS_ADDRESS|SESSION_MANAGER"
)
#: Who and where, by the names that shells, logs, Slurm and Kubernetes give it.
_WHO = frozenset(
    """
    user username user_name logname sudo_user ruser login_name ssh_user git_author_name
    git_committer_name slurm_job_user kubeflow_userid nb_user jupyterhub_user remote_user
    """.split()  # noqa: SIM905
)
_WHERE = frozenset(
    """
    hostname host_name nodename node_name pod_name my_pod_name machine_name computername
    slurmd_nodename slurm_nodelist slurm_job_nodelist slurm_step_nodelist slurm_submit_host
    slurm_topology_addr slurm_node_aliases slurm_srun_comm_host slurm_launch_node_ipaddr
    master_addr fqdn pmix_hostname
    """.split()  # noqa: SIM905
)
#: Of these names the value is a machine if it looks like one.
_PERHAPS_WHERE = re.compile(
    r"(?:\w{0,60}_)?(?:pg|db)?hosts?|server(?:_name|_addr)?|registry|endpoint|peer|node|gateway"
    r"|rdzv_endpoint|advertise_addr|dist_init_addr|head_node(?:_ip)?"
)
_MACHINE = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]{1,253})(?::\d{1,5})?")
_ACCOUNT = frozenset(
    """
    slurm_job_account sbatch_account salloc_account slurm_account slurm_job_qos
    slurm_job_reservation slurm_cluster_name slurm_job_group slurm_job_comment pod_namespace
    my_pod_namespace kube_namespace service_account service_account_name
    """.split()  # noqa: SIM905
)

#: Where a name may be that is asked for below; the rest of a text is not looked at.
_HINTS = (
    "pass", "pwd", "secret", "token", "key", "cred", "auth", "session", "cookie", "signature",
    "dsn", "jwt", "otp", "pin", "salt", "connection", "bearer", "user", "logname", "login", "host",
    "node", "slurm_", "sbatch", "salloc", "pod_", "namespace", "account", "fqdn", "_addr",
    "machine_name", "computername", "git_", "server", "registry", "endpoint", "peer", "gateway",
)  # fmt: skip
#: A name and what joins it to its value: NAME=, "name": , --name value, "--name", "value".
_NAMED = re.compile(
    r"(?P<dashes>-{0,2})(?P<name>[A-Za-z_][\w.-]{0,255})(?P<close>\\{0,3}[\"'])?"
    # Not the colon that a line of AMD's log begins with: `:3:hip_stream.cpp:451 : ...`.
    r"(?P<join>\s{0,3}(?:=>|:=|[=:](?!\d:\w{1,60}\.[ch]pp:\d))\s{0,3}|\0|\\u0000|\\x00|,\s{0,60}(?=\\{0,3}[\"'])"
    r"|[ \t]{1,4}(?=\S)|\s{1,60}(?=\\{0,3}[\"']))"
)
_LONGEST_NAME = 256
_REST_OF_NAME = re.compile(r"[\w.-]*")
#: Between an option and the argument after it: nothing that assigns.
_ARGUMENT_FOLLOWS = ("", ",", "\0", r"\u0000", r"\x00")
_VALUE = re.compile(
    r"(?s)(?P<quote>\\{0,3}[\"'])(?P<quoted>(?:\\\\\\[\"']|(?!(?P=quote))(?:\\.|.)){0,4096})(?P=quote)"
    r"|\\{0,3}[\"']?(?P<bare>(?:\\u(?!0000)[0-9a-fA-F]{4}|\\x(?!00)[0-9a-fA-F]{2}|[^\s\"'`\\,;&)}\]\0|]){1,4096})"
)
#: Values that give nothing away.
_NOTHING = re.compile(
    r"(?i)(?:true|false|yes|no|on|off|none|null|nil|undefined|unset|empty|auto|default|enabled"
    r"|disabled|required|optional|missing|invalid|expected|\*+|x+|\.\.\.|\$\{?\w+\}?)?"
)
#: PWD is a shell's working directory as well.
_PATH = re.compile(r"[/~.]|[A-Za-z]:[\\/]|<[a-z]+-\d+>/|%2[fF]|\\/")
_NUMBER = re.compile(
    r"-?(?:0[xX][0-9a-fA-F]{1,16}|\d{1,20}|\d{1,12}\.\d{1,12})(?:[uUlL]{1,3}|[mun]?s)?"
)
#: What stands before a name that is a line's or a field's own, not a word in a sentence.
_FIELD_STARTS = re.compile(
    r"(?:\A|[\n\r{,;(\[\"'?&|\0>-]|\\n)[ \t]*(?:export |set |-e |--env |ENV |declare -x )?\Z"
)


def spans(text: str, lower: str) -> Iterator[Span]:
    """Values that a name says to be private; ``lower`` is ``text`` in lower case."""
    for match in _names(text, lower):
        name = match["name"]
        identity = _identity(name)
        strong = _STRONG.search(name) is not None
        weak = not strong and _is_weak(name)
        if not (identity or strong or weak) or _HARMLESS.fullmatch(name):
            continue
        value = _VALUE.match(text, match.end())
        if value is None:
            continue
        span = (
            _identity_value(match, value, identity)
            if identity
            else _secret_value(match, value, strong=strong)
        )
        if span is not None:
            yield span


def _hints(lower: str) -> list[int]:
    """Where one of the hints stands, in order; str.find is thirty times as quick as a pattern."""
    found: list[int] = []
    for hint in _HINTS:
        at = lower.find(hint)
        while at >= 0:
            found.append(at)
            at = lower.find(hint, at + len(hint))
    return sorted(found)


def _names(text: str, lower: str) -> Iterator[re.Match[str]]:
    """Names that may be those of secrets, each with what joins it to a value."""
    done = 0
    for hint in _hints(lower):
        if hint < done:
            continue
        start = hint
        first = max(done, start - _LONGEST_NAME)
        while start > first and (text[start - 1].isalnum() or text[start - 1] in "_.-"):
            start -= 1
        start += _escape_before(text, start, hint)
        while start < hint and (text[start] == "." or text[start].isdecimal()):
            start += 1
        match = _NAMED.match(text, start)
        if match is not None:
            done = match.end("name")
            yield match
        elif (rest := _REST_OF_NAME.match(text, hint)) is not None:
            # Nothing is joined to it, whatever else is in the name.
            done = max(done, rest.end() - _LONGEST_NAME)


def _escape_before(text: str, start: int, end: int) -> int:
    """Characters of an escape (a backslash and n) that seem to begin the name at ``start``."""
    if start == 0 or text[start - 1] != "\\":
        return 0
    size = {"n": 1, "r": 1, "t": 1, "x": 3, "u": 5}.get(text[start], 0)
    return size if start + size <= end else 0


def _is_weak(name: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(name)]
    return any(word in _WEAK or (word.endswith("key") and len(word) < 12) for word in words)


def _identity(name: str) -> str:
    name = name.lower().replace("-", "_")
    if name in _WHO:
        return "user"
    if name in _WHERE:
        return "host"
    perhaps = _PERHAPS_WHERE.fullmatch(name) is not None
    return "account" if name in _ACCOUNT else "machine" if perhaps else ""


def _value_of(value: re.Match[str]) -> tuple[int, int, str]:
    group = "quoted" if value["quote"] is not None and value["quoted"] is not None else "bare"
    return *value.span(group), value[group]


def _secret_value(name: re.Match[str], value: re.Match[str], *, strong: bool) -> Span | None:
    start, end, secret = _value_of(value)
    if _NOTHING.fullmatch(secret):
        return None
    join, quoted = name["join"].strip(" \t\r\n"), value["quote"] is not None
    number = _NUMBER.fullmatch(secret) is not None
    password = "pass" in name["name"].lower() or name["name"][-3:].lower() == "pwd"
    if name["name"][-3:].lower() == "pwd" and _PATH.match(secret):
        return None
    if join in _ARGUMENT_FOLLOWS:
        # A command-line option and the argument after it.
        if not name["dashes"] or secret.startswith("-") or (join == "," and not name["close"]):
            return None
        if number and not password:
            return None
        return Span(start, end, "secret", learn=is_no_prose(secret))
    variable = join == "=" and name["name"].isupper()
    if number and (secret[:2].lower() == "0x" or not (password or (strong and variable))):
        return None
    if not strong and (
        len(secret) < (4 if variable else 6)
        or not (variable or quoted or name["dashes"] or is_no_prose(secret))
    ):
        return None
    in_text = join == ":" and not quoted and not password and not _is_field(name)
    if in_text and not (strong and is_no_prose(secret)):
        return None
    # "Password: incorrect" is masked where it stands; the word is no secret elsewhere.
    return Span(start, end, "secret", learn=variable or is_no_prose(secret))


def _is_field(name: re.Match[str]) -> bool:
    """Whether what is before a colon is a field's name, not the end of a sentence."""
    if name["close"]:
        return True
    before = name.string[max(0, name.start() - 40) : name.start()]
    return _FIELD_STARTS.search(before) is not None


def _identity_value(name: re.Match[str], value: re.Match[str], kind: str) -> Span | None:
    start, end, who = _value_of(value)
    join = name["join"].strip(" \t\r\n")
    if kind == "machine":
        machine = _MACHINE.fullmatch(who)
        sure = join == "=" or name["dashes"] or (name["close"] and value["quote"])
        if machine is None or not (is_host if sure else is_telling)(machine["name"]):
            return None
        end, who, kind = start + machine.end("name"), machine["name"], "host"
    if is_common(who) or _NOTHING.fullmatch(who) or _NUMBER.fullmatch(who):
        return None
    if join in _ARGUMENT_FOLLOWS and not name["dashes"]:
        return None
    if " " in who and not (kind == "user" and value["quote"]):
        return None
    # "user: what he did" is a sentence, unless it is a field of a document.
    in_text = join == ":" and not name["close"]
    if in_text and (name["name"] == "user" or not _is_field(name)):
        return None
    if "/" in who or "(" in who:
        return None
    return Span(start, end, kind, learn=kind != "host" or name["name"].lower() in _WHERE
                or is_telling(who))  # fmt: skip
