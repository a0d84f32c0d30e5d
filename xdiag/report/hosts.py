"""Machines of a network, by what stands around their names: ports, URLs, commands, messages.

A name with a port may be a file with a line (``hip_stream.cpp:451``), and ``HIP::x`` is no machine:
what is asked for is a domain that there is, or a word that speaks of a connection.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xdiag.report.shapes import Shape, is_uncommon

if TYPE_CHECKING:
    from collections.abc import Callable

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
#: Ends of names that are no file's and no module's; ``.py`` and ``.so`` are countries too.
_TOP = (
    r"(?i:com|net|org|edu|gov|mil|int|info|biz|io|ai|dev|cloud|app|tech|co|us|uk|ca|au|de|fr|ch|at|nl"
    r"|be|eu|it|es|se|no|fi|dk|cz|cn|jp|kr|tw|hk|sg|il|ru|br|local|localdomain|internal|lan|corp"
    r"|intranet|intra|home|private|arpa|example|test|invalid|consul|svc|cluster)"
)
_KNOWN_TOP = re.compile(_TOP)
_FULL = rf"(?:{_LABEL}\.){{1,8}}{_TOP}(?![\w-]|\.\w)"
_NAME = rf"(?:{_LABEL}\.){{0,8}}{_LABEL}"
_BEFORE = r"(?<![\w.@/-])"

#: Parts of a machine, which are not it, and files by their endings.
_PART = re.compile(
    r"(?:eth|en[opsx]|ib|wl[ap]|lo|docker|br|veth|bond|mlx|gfx)[-_]?[\da-f][\w-]*"
    r"|(?:gpu|cpu|cuda|hip|rocm|rank|core|card|renderd|dev|device|stream|queue|thread|worker|task|step"
    r"|tid|pid|layer|expert)[-_]?\d"
    r"|(?:x86|aarch64|arm|i[3-6]86|ppc64|riscv|amd64|linux)[\w-]*"
)
_FILE = re.compile(
    r".*\.(?:[ch]|cc|cpp|cxx|hpp|hip|cu|cuh|inc|inl|s|so|a|o|py|pyi|pyx|pyc|sh|rs|go|js|ts|md|txt|log"
    r"|json|ya?ml|toml|cfg|conf|ini|xml|html|zip|gz|xz|zst|whl|deb|rpm|xdiag|out|core|in|jinja)|.*\.so(?:\.\d+)+"
)
#: Words after which no machine is named, whatever else stands there.
_WORDS = frozenset(
    """
    a all an another any as at be by for has have http https id in is it its ipv4 ipv6 no not of on
    only or our same some tcp that the their them this to udp unix was which with you your
    """.split()  # noqa: SIM905
)
#: Domains that belong to the public: who is sent there by a message is not told by it.
_EVERYBODYS = (
    "github.com", "githubusercontent.com", "github.io", "gitlab.com", "huggingface.co", "amd.com",
    "nvidia.com", "pytorch.org", "python.org", "gnu.org", "kernel.org", "sourceware.org",
    "man7.org", "freedesktop.org", "llvm.org", "readthedocs.io", "vllm.ai", "w3.org",
    "textualize.io", "json-schema.org", "stackoverflow.com", "wikipedia.org",
)  # fmt: skip
_HAS_A_NUMBER = re.compile(r"[A-Za-z].*[0-9]|[A-Za-z]-[A-Za-z0-9]")


def is_host(name: str) -> bool:
    """Whether a name that stands where machines do may be that of one, and not everybody's."""
    # Of names with dots, report.host is a program's.
    first, _, last = name.rpartition(".")
    known = not first or _KNOWN_TOP.fullmatch(last) is not None or _has_a_number(first)
    return known and _is_anybodys(name)


def is_telling(name: str) -> bool:
    """Whether such a name is a machine's wherever else it stands: gpu17, and not redis."""
    return is_host(name) and ("." in name or _has_a_number(name))


def _has_a_number(name: str) -> bool:
    return _HAS_A_NUMBER.search(name) is not None


def _is_anybodys(name: str) -> bool:
    """Whether a name is neither public, nor a word, nor a part of a machine, nor a file."""
    lower = name.lower().rstrip(".")
    public = lower.startswith("www.") or any(
        lower == each or lower.endswith(f".{each}") for each in _EVERYBODYS
    )
    number = name.replace(".", "").isdecimal() or lower.startswith("0x")
    part = _PART.fullmatch(lower) is not None or _FILE.fullmatch(lower) is not None
    return not (public or number or part) and lower not in _WORDS and is_uncommon(lower)


def _of(pattern: str, *needles: str, accepts: Callable[[str], bool] = is_host) -> Shape:
    """Machines in a place: those with telling names are masked elsewhere too."""
    compiled = re.compile(pattern.replace("HOST", rf"(?P<host>{_NAME})"))
    return Shape("host", compiled, needles, learn=True, accepts=accepts, tells=is_telling)


#: Where a name ends that no path, port or call follows.
_ENDS = r"(?![\w(/@-]|\.\w|:\S)"
#: What speaks of a connection, before the name of the other machine.
_CONNECTION = (
    r"(?<![A-Za-z])(?i:connect(?:s|ed|ing|ion)?\s(?:to|from|with|at)|listen(?:s|ing)?\s(?:on|at)"
    r"|(?:bind|binds|binding|bound)\s(?:to|on|at)|(?:serving|running|served)\s(?:on|at)"
    r"|(?:rendezvous|master|server|store|endpoint)\s(?:on|at)|accepted\s(?:connection\s)?from"
    r"|(?:reach|resolve|contact|ping|telnet|getaddrinfo)(?:ing)?)"
)
_QUOTE = r"\\{0,3}[\"'`]?"
#: Between an option and its value, as shells, JSON and /proc have it.
_TO_VALUE = r"[ \t=\"',\0]{1,6}"

SHAPES: tuple[Shape, ...] = (
    # With a port and a domain that there is.
    Shape(
        "host",
        re.compile(rf"{_BEFORE}(?P<host>{_FULL})(?=:\d{{2,5}}(?!\d|\.\d|:\d))"),
        (":",),
        learn=True,
        accepts=is_host,
    ),
    _of(rf"{_CONNECTION}\s(?:(?i:host|server|node)\s)?{_QUOTE}HOST(?=:\d{{2,5}}(?!\d)|\sport\s\d)",
         "connect", "listen", "bind", "bound", "serv", "rendezvous", "master", "store", "endpoint",
         "accepted", "reach", "contact"),
    # Without a port it has to look like a machine's.
    _of(rf"{_CONNECTION}\s(?:(?i:host|hostname|server|node)[\s:]\s?)?{_QUOTE}HOST{_ENDS}",
         "connect", "listen", "bind", "bound", "serv", "rendezvous", "master", "store", "endpoint",
         "accepted", "reach", "resolve", "contact", "ping", "telnet", "getaddrinfo",
         accepts=is_telling),
    # OpenSSH, curl, getaddrinfo.
    _of(r"(?<![A-Za-z])(?i:connect to host\s)HOST(?=\sport\s\d)", "connect to host"),
    _of(r"(?<![A-Za-z])(?i:Connection to\s)HOST(?=\s(?:closed|timed out|refused|reset)\b)",
         "connection to"),
    _of(r"(?<![A-Za-z])(?i:could not resolve (?:host|hostname)[\s:]{1,2})HOST",
         "could not resolve"),
    _of(r"(?<!\w)\((?P<quote>\\{0,3}[\"'])HOST(?P=quote),\s?\d{2,5}\)", "',", '",'),
    # In a URL, whatever comes before its @.
    _of(r"(?<![A-Za-z])(?i:[a-z][a-z0-9+.-]{1,20}):\\{0,3}/\\{0,3}/(?:[^\s/\"'`<>@]{1,512}@)?HOST(?=[^\w.@-]|$)",
         "://", ":\\", accepts=_is_anybodys),
    # \\server\share, also within JSON; //server/share as mount(8) tells of it; server:/export.
    _of(r"(?<![\\\w:])\\\\HOST(?=\\[\w$])", "\\\\"),
    _of(r"(?<![\\\w:])\\\\\\\\HOST(?=\\\\[\w$])", "\\\\"),
    _of(r"(?m)(?:^|[\s\"'])//HOST(?=/[^\n]{0,300}\b(?:cifs|smb3?)\b)", "cifs", "smb"),
    _of(r"(?m)(?:^|[\s\"'])HOST(?=:/[^\n]{0,300}\bnfs4?\b)", "nfs"),
    _of(r"(?<![A-Za-z])nfs4?\s{1,8}HOST(?=:/)", "nfs"),
    # ~/.netrc, ~/.ssh/config, and what is given to commands.
    _of(r"(?<![A-Za-z])(?i:machine)\s{1,8}HOST(?=\s{1,8}(?i:login|account|password)\b)",
         "machine"),
    Shape(
        "host",
        re.compile(rf"(?<![A-Za-z])(?i:machine)\s{{1,8}}(?P<host>{_FULL})"),
        ("machine",),
        learn=True,
        accepts=is_host,
    ),
    _of(r"(?m)(?:^|\\n)[ \t]*(?i:hostname|proxyjump)[ \t]{1,8}(?:[\w.-]{1,64}@)?HOST"
         r"(?=[ \t:]*(?:$|\d|\\[nr]))", "hostname", "proxyjump"),
    _of(r"(?m)(?:^|\\n)[ \t]*Host[ \t]{1,8}HOST(?=[ \t]*(?:$|\\[nr]))", "host"),
    _of(r"(?<![\w./-])(?:ssh|sftp|telnet|nc|ping|rsync|mosh|ssh-copy-id|ssh-keyscan)(?:\s{1,4}-\w{1,3}"
         r"(?:\s[\d.]{1,6}(?=\s))?){0,8}\s{1,4}HOST" + _ENDS,
         "ssh", "sftp", "telnet", "nc ", "ping", "rsync", "mosh", accepts=is_telling),
    _of(r"(?<![\w./-])(?:scp|rsync)\b[^\n]{0,200}?\s(?:[\w.-]{1,64}@)?HOST(?=:[/~.\w])",
         "scp", "rsync"),
    _of(r"(?<![\w./-])(?:docker|podman|nerdctl|buildah|skopeo|helm|crane|apptainer|singularity)\b"
         rf"[^\n|;&]{{0,300}}?[ \t\"',/\0](?=(?:{_LABEL}\.){{1,8}}[A-Za-z])HOST"
         r"(?=[:/;)\]\\]|[\s\"',\0]|$)",
         "docker", "podman", "nerdctl", "buildah", "skopeo", "helm", "crane", "apptainer",
         "singularity"),
    _of(rf"--?(?:rdzv[-_]endpoint|rdzv[-_]backend[-_]endpoint|master[-_]addr|node[-_]?list|hosts?|server"
         rf"|host[-_]?name|dist[-_]init[-_]addr|head[-_]node|address){_TO_VALUE}"
         rf"(?:[a-z]{{2,8}}://)?HOST(?=[:,\s\"'\0\]]|$)",
         "rdzv", "master", "node", "host", "server", "dist", "address"),
    _of(r"(?<![A-Za-z])(?i:on|from|at|to|of|by)\s(?i:host|node|machine|server)[\s:]{1,2}HOST(?![\w(/@-]|\.\w)",
         "host", "node", "machine", "server", accepts=is_telling),
    _of(r"(?m)(?:^|[\s\"'])(?i:node|host)\s(?=\w{0,40}[A-Za-z]-?\d)HOST(?=[:,\s]|$)",
         "node", "host"),
    _of(r"\\?\"auths\\?\"\s{0,4}:\s{0,8}\{[\s\\n]{0,40}\\?\"(?:https?:\\?/\\?/)?HOST", "auths"),
    # A list of them is one thing.
    Shape(
        "host",
        re.compile(
            r"(?<![A-Za-z0-9.-])(?:mpirun|mpiexec|prterun|srun|sbatch|salloc|horovodrun|deepspeed|pdsh|clush)\b"
            r"[^\n|;&]{0,300}?[ \t\"',\0](?:-H|--?hosts?|-w|--nodelist|--include)[ \t=\"',\0]{1,6}"
            r"(?P<host>[A-Za-z][\w.,:\[\]@-]{1,512})"
        ),
        ("mpi", "prterun", "srun", "sbatch", "salloc", "horovodrun", "deepspeed", "pdsh", "clush"),
        accepts=is_host,
    ),
    # Slurm, Open MPI, NCCL and RCCL, the kernel's network file systems.
    _of(r"(?<![A-Za-z])(?:srun|sbatch|salloc|slurmstepd|prun|mpirun|mpiexec|prterun)(?::|-) ?"
         r"(?:error: )?HOST(?=: (?:task|\[|error))",
         "srun", "slurm", "sbatch", "salloc", "mpi", "prun", "prterun"),
    _of(r"(?m)(?:^|[\s\"'\]])\[HOST"
         r"(?=:\d{1,7}\] (?:\*\*\*|Signal|\[ ?\d|mca|ORTE|PMIX|PRTE))", ":"),
    _of(r"(?m)(?:^|[\s\"'\]])HOST(?=:\d{1,7}:\d{1,7} \[\d{1,3}\] (?:N|R)CCL)", "ccl"),
)  # fmt: skip
