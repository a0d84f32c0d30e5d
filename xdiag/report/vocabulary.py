"""Words that name nobody: those of this trade, of xdiag's documents, of every machine.

Somebody may be called ``stream``; to take that word out of a report would leave nothing of it.
Such a name is masked where it stands as one (``/home/stream``, ``stream@host``), nowhere else.
"""

from __future__ import annotations

import re
from functools import cache

from xdiag.consumers import CONSUMERS
from xdiag.fixes import FIXES
from xdiag.hypotheses import HYPOTHESES
from xdiag.model import Record
from xdiag.patterns import PATTERNS

_WORD = re.compile(r"[a-z0-9]+")

#: Accounts and hosts that every machine of a kind has: they tell the kind, not whose it is.
COMMON_ACCOUNTS = frozenset(
    """
    adm admin administrator ansible azureuser backup bin build builder buildbot centos circleci
    cloud-user cloudshell coder conda core daemon debian default dev developer docker ec2-user
    fedora games git github gitlab gitlab-runner gitpod guest jenkins jovyan lib linuxbrew
    linux localhost localdomain local lost+found mail man messagebus mlperf nfs nfsnobody
    nobody none nogroup opc operator oracle pi postgres public root runner rocm rocm-user runsc
    shared slurm ssh sshd staff sudo sync sys syslog sysadmin system test tester tmp travis
    ubuntu unknown user users vagrant vcap video render vscode wheel www www-data worker
    workspace host node hostname username group everyone somebody someone name home data
    scratch project projects
    """.split()  # noqa: SIM905
)

#: Words of logs, tools and libraries that nobody's name may take out of a report.
_TRADE = frozenset(
    """
    address agent amd amdgpu amdhip api arg args argument assert async aten backtrace base bash
    batch begin block bool buffer build byte bytes cache call calls case char chunk class clang
    code comgr command compile compiler config context copy core count cpu create cuda cudnn
    current data debug default destroy device devices dict dlopen dlsym done double driver
    dtype dump elf else empty end entry enum env error event events exception exec exit export
    extension fail failed failure false fatal file files first flag flags float flush fork
    format found frame free from function future gdb get gfx gil glibc gnu gpu gpus graph grid
    half handle handles hang hash heap hidden hip hipblas hsa hsail image import index info
    init inode input insert inspect int interface interrupt invalid ioctl ipc item items iter
    job json kernel kernels key keys kfd kind lane last launch layer level lib libamdhip
    library libs line lines link list load loaded loader lock log logger logs long loop main
    make malloc map mapped maps mask max mean memory message method min missing mode model
    module mori mount mutex names namespace native next none normal note null num number object
    offset open option order original out output owner page panic parent parse path pattern
    patterns peer pid pinned pipe plan platform point pointer pool port pos posix print private
    proc process processes prog program pthread ptr py python python3 pytorch queue queues quit
    race rank ranks read ready record records refused release remote render report request
    reset result results return rocblas rocclr rocm rocr root round run runtime runtimes sample
    scale scan script search section segv self send serve server service session set setup
    sglang shape shared shim sigabrt sigsegv signal simple site size sleep slot so sock socket
    soname sort source space spawn stack stage start state static status stderr stdin stdout
    step steps stop store stream streams string struct success symbol sync system table target
    task tensor term text thread threads tid time timeout token tokens torch total trace
    traceback train triton true tuple type types undefined unify unknown unload update usage
    use used user users util uuid val valid value values vector verdict version versions vllm
    void wait warn warning wave weight wheel word work worker workers write written xqueue
    xsched zero x86 x64 amd64 trying search hardware software mon tue wed thu fri sat sun jan
    feb mar apr may jun jul aug sep oct nov dec
    """.split()  # noqa: SIM905
)


@cache
def vocabulary() -> frozenset[str]:
    """All such words, in lower case."""
    words = set(COMMON_ACCOUNTS | _TRADE)
    for record in _records(Record):
        # Names alone: some records' annotations are only there for the type checker.
        for name in map(str.lower, record.__struct_encode_fields__):
            words.update(_WORD.findall(name), {name})
    ids = [each.id for entries in (PATTERNS, FIXES, CONSUMERS, HYPOTHESES) for each in entries]
    for id in ids:
        words.update(_WORD.findall(id), {id})
    return frozenset(words)


def _records(top: type[Record]) -> list[type[Record]]:
    found = []
    for record in top.__subclasses__():
        found += [record, *_records(record)]
    return found
