"""Private data of many kinds, each as it is met, and the part of it that must not be seen again."""

from __future__ import annotations

from dataclasses import dataclass

#: Names that the masker is told of, as those of this machine.
USER, HOST, DOMAIN, HOME = "qzanary", "qzbox17", "qzcorp.example", "/data/qzteam/qzhome"
KNOWN = (
    ("user", USER), ("user", "Zoé Qzånary"), ("host", HOST), ("domain", DOMAIN), ("home", HOME),
)  # fmt: skip


@dataclass(frozen=True)
class Canary:
    """A text with something private in it."""

    kind: str
    text: str
    #: What must not survive, none of them.
    private: tuple[str, ...]


def _canary(kind: str, text: str, *private: str) -> Canary:
    return Canary(kind, text, private)


_PEM = "\n".join(
    ["-----BEGIN RSA PRIVATE KEY-----",
     "MIIEqzPemCanary0" + "Ab3" * 16, "QzPemCanary1" + "dE5" * 9,
     "-----END RSA PRIVATE KEY-----"]
)  # fmt: skip

#: One of each kind.  The values are made up.
CANARIES = (
    _canary("user", f"owner {USER} of it", USER),
    _canary("user in capitals", f"{USER.upper()}", USER.upper()),
    _canary("user within a word", f"sched-{USER}_x86", USER),
    _canary("full name", "by Zoé Qzånary.", "Qzånary"),
    _canary("full name in JSON", r'"by": "Zo\u00e9 Qz\u00e5nary"', r"Qz\u00e5nary"),
    _canary("host", f"node {HOST}:", HOST),
    _canary("FQDN", f"at {HOST}.{DOMAIN} now", HOST, DOMAIN),
    _canary("another host of the domain", f"from qzother9.{DOMAIN}", "qzother9", DOMAIN),
    _canary("home", f"{HOME}/env/bin/python3", "qzhome"),
    _canary("home of somebody", "/home/qzsomebody/x/libamdhip64.so.6", "qzsomebody"),
    _canary("home in JSON", r'{"p": "\/home\/qzslashed\/x"}', "qzslashed"),
    _canary("home in a URL", "file:%2Fhome%2Fqzpercent%2Fx", "qzpercent"),
    _canary("home of macOS", "/Users/qzmac/lib", "qzmac"),
    _canary("tilde", "ls ~qztilde/x", "qztilde"),
    _canary("prompt", "qzprompt@qzlogin3:~/work$ rocminfo", "qzprompt", "qzlogin3"),
    _canary("id", "uid=8887776(qzident) gid=8887776(qzident)", "qzident", "8887776"),
    _canary("ls", "-rw-r--r-- 1 qzlister staff 4096 Jan  1 00:00 x", "qzlister"),
    _canary("syslog", "Jan 12 10:11:12 qzsyslog kernel: amdgpu: x", "qzsyslog"),
    _canary("uname", "Linux qzuname 6.1.0-18-amd64 #1 SMP x86_64", "qzuname"),
    _canary("mail", "mail qz.person+x@qzmail.example now", "qz.person", "qzmail"),
    _canary("variable token", "export QZ_TOKEN=qztokenvalue", "qztokenvalue"),
    _canary("variable key", "MY_API_KEY='qz key with spaces'", "qz key with spaces"),
    _canary("password in YAML", "password: qzyamlpassword", "qzyamlpassword"),
    _canary("secret in JSON", '{"client_secret": "qz\\"quoted\\"secret"}', "quoted"),
    _canary("option", "serve --auth-token=qzoptiontoken7 -v", "qzoptiontoken7"),
    _canary("option and argument", "serve --password qzargument8 -v", "qzargument8"),
    _canary("option in a list", '["serve", "--api-key", "qzlisted9", "-v"]', "qzlisted9"),
    _canary("option in /proc", "serve\0--secret\0qznulled5\0-v\0", "qznulled5"),
    _canary("mysql", "mysql -u root -pqzmysql4", "qzmysql4"),
    _canary("curl", "curl -u qzcurl:qzpass6 https://x.example", "qzcurl", "qzpass6"),
    _canary("sshpass", "sshpass -p qzsshpass1 ssh x", "qzsshpass1"),
    _canary("AWS", "id AKIAQZCANARYCANARY12 x", "AKIAQZCANARYCANARY12"),
    _canary("AWS secret", "aws_secret_access_key = wJalrXUtqzCANARY/K7MDENG+bPx", "qzCANARY"),
    _canary("GitHub", "ghp_QzCanary0123456789abcdefABCDEF01234", "QzCanary0123456789"),
    _canary("GitHub, fine", "github_pat_11QZCANARY0_abcdefghijklmnop", "11QZCANARY0"),
    _canary("GitLab", "glpat-QzCanary_0123456789ab", "QzCanary_0123456789ab"),
    _canary("Hugging Face", "hf_QzCanaryQzCanaryQzCanaryQzCanary12", "QzCanaryQzCanary"),
    _canary("OpenAI", "sk-proj-QzCanary0123456789abcdef", "QzCanary0123456789"),
    _canary("Slack", "xoxb-123456789012-QzCanary0123", "QzCanary0123"),
    _canary("Google", "AIzaSyQzCanary0123456789_abcdefghijklmno", "QzCanary0123456789"),
    _canary("JWT", "eyJhbGciOiJIUzI1NiJ9.eyJxeiI6ImNhbmFyeSJ9.QzCanarySig-0_x", "QzCanarySig",
            "eyJxeiI6ImNhbmFyeSJ9"),
    _canary("private key", _PEM, "qzPemCanary0", "QzPemCanary1"),
    _canary("private key in JSON", _PEM.replace("\n", "\\n"), "qzPemCanary0", "QzPemCanary1"),
    _canary("SSH key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5QzCanary01 qzkey@qzhostkey", "QzCanary01",
            "qzkey", "qzhostkey"),
    _canary("bearer", "Authorization: Bearer qzbearerbearer", "qzbearerbearer"),
    _canary("basic", 'headers = {"Authorization": "Basic cXo6Y2FuYXJ5"}', "cXo6Y2FuYXJ5"),
    _canary("cookie", "Cookie: sid=qzcookie1; other=qzcookie2", "qzcookie1", "qzcookie2"),
    _canary("URL", "https://qzurl:qz@pass@git.example/x.git", "qzurl", "qz@pass"),
    _canary("query", "GET /x?a=1&access_token=qzquery&b=2", "qzquery"),
    _canary("npm", "npm_QzCanary0123456789abcdefABCDEF012345", "QzCanary0123456789"),
    _canary("PyPI", "pypi-AgEIcHlwaS5vcmcQzCanary0123456789", "QzCanary0123456789"),
    _canary("W&B", "wandb login 0123456789abcdef0123456789abcdefdeadbeef", "0123456789abcdef0123"),
    _canary("netrc", "machine x.example login qznetrc password qznetpass", "qznetrc", "qznetpass"),
    _canary("connection string", "Server=x;Uid=qzsql;Pwd=qzsqlpass;", "qzsql", "qzsqlpass"),
    _canary("Slurm", "SLURM_JOB_ACCOUNT=qzproject\nSLURM_JOB_USER=qzslurm", "qzproject", "qzslurm"),
    _canary("Kubernetes", "POD_NAME=qzpod-7f\nPOD_NAMESPACE=qzspace", "qzpod-7f", "qzspace"),
    _canary("IPv4", "listening on 203.0.113.77 port 80", "203.0.113.77"),
    _canary("IPv4, private", "MASTER=10.21.32.43", "10.21.32.43"),
    _canary("IPv4 with port", "tcp 13.52.1.2:29500", "13.52.1.2"),
    _canary("AWS host", "ip-10-9-8-7.ec2.internal", "10-9-8-7"),
    _canary("IPv6", "inet6 2001:db8:77::42/64 scope", "2001:db8:77::42"),
    _canary("IPv6, link", "fe80::1234:5678:9abc%eth0", "1234:5678:9abc"),
    _canary("MAC", "link/ether 52:54:00:c0:ff:ee brd", "52:54:00:c0:ff:ee"),
    _canary("InfiniBand", "00:00:10:29:fe:80:00:00:00:00:00:00:aa:bb:cc:dd:ee:ff:00:11", "aa:bb"),
    _canary("UTF-16", "qzsixteen in /home/qzsixteen/x".encode("utf-16-le").decode("latin-1"),
            "qzsixteen", "q\0z\0s\0i\0x"),
)  # fmt: skip

#: What has to stay: without it a report is worth nothing.
TECHNICAL = (
    "709 hipErrorContextIsDestroyed", "hipErrorInvalidValue (1)", "CUDA error 709",
    "build id d9394edf37a47338be7311325f6ea18df4afa3d3", "handle 0x55f7f7645030", "0x7f02411e4750",
    "libamdhip64.so.5.2.21153", "libamdhip64.so.6", "libhsa-runtime64.so.1.14.60403",
    "version 6.4.3.0", "HIP 6.4.3.0", "5.2.21153", "rocm-6.4.3.0/lib", "ROCm 7.0.2.1",
    "nvidia-curand-cu12==10.3.5.147", "nvidia-cudnn-cu12 9.1.0.70", "libfoo.so.10.3.5.147",
    "torch 2.9.0+rocm6.4", "6.1.0-18-amd64", "glibc 2.36", "Python 3.11.7",
    "gfx90a:sramecc+:xnack-",
    "device 254:0 inode 2148554", "device fe:00 inode 16039977, namespace 0", "0000:c1:00.0",
    "/opt/rocm/lib/libamdhip64.so", "/usr/lib/x86_64-linux-gnu/libc.so.6", "127.0.0.1:8080",
    "[::1]",
    "std::vector<int>::push_back", "dead::beef::cafe()", "c10::hip::HIPStream::stream()",
    "memcpy@@GLIBC_2.14", "hipInit@hip_4.2", "hipMalloc@plt", "git@github.com:ROCm/clr.git",
    "https://github.com/ROCm/mori/issues/402", "12:34:56.789", "2026-01-12T10:11:12Z",
    ":3:hip_stream.cpp:451 : 12345678 us: [pid:4711 tid:0x7f02] hipStreamGetFlags ( 0x1, 0x2 )",
    "7f02411e4000-7f02411e5000 r-xp 00000000 08:01 2148554 /opt/rocm/lib/libamdhip64.so.6",
    "Unexpected token: }", "max_tokens=4096", "tokenizer=llama", "eos_token_id: 2",
    "num_tokens: 17",
    "key=0x55f7f7645030", "session: 0x7f00", "pass: 1 of 3", "12 passed, 3 failed", "keys: 12",
    "#3  0x00007f02411e4750 in hipStreamQuery () from /opt/rocm/lib/libamdhip64.so.6",
    "HIP_VISIBLE_DEVICES=0,1", "HSA_OVERRIDE_GFX_VERSION=10.3.0", "AMD_LOG_LEVEL=4",
    "XSCHED_HIP_LIB=/opt/rocm/lib/libamdhip64.so", "LD_PRELOAD=libshimhip.so", "user: root",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "exit(1)",
    "a1b2c3d4-e5f6-7890-abcd-ef0123456789", "SIGSEGV in hipEventRecord", "[1234.567890] amdgpu",
    "worker: hipStreamGetFlags(s)", "thread 21941", "0xffffffffffffffff", "basic block 12",
    "XSched: HipQueueCreate(stream 0x1)", "_ZN3hip6StreamC1EPNS_6DeviceE", "RTLD_NOLOAD",
)  # fmt: skip
