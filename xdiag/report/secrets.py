"""Secrets by their shape: tokens, keys, headers, URLs, command lines."""

from __future__ import annotations

import re

from xdiag.report.shapes import Shape, is_no_prose, is_uncommon

#: What begins a token, and what follows; the services are those that the beginnings name.
_TOKENS = (
    (r"(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ANVA)[A-Z0-9]{16}",
     "akia", "asia", "agpa", "aida", "aroa", "anpa", "anva"),
    (r"gh[pousr]_[A-Za-z0-9]{16,255}", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    (r"github_pat_[A-Za-z0-9_]{16,255}", "github_pat_"),
    (r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|imt|oas)-[A-Za-z0-9_-]{16,255}", "gl"),
    (r"hf_(?=[a-z]{0,60}[A-Z0-9])[A-Za-z0-9]{20,64}", "hf_"),
    (r"(?<![A-Za-z])sk-(?=[a-z-]{0,60}[A-Z0-9])[A-Za-z0-9_-]{16,255}", "sk-"),
    (r"(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{8,255}", "xox", "xapp-"),
    (r"(?<=hooks\.slack\.com/services/)[A-Za-z0-9/]{8,128}", "hooks.slack.com"),
    (r"AIza[A-Za-z0-9_-]{30,64}", "aiza"),
    (r"ya29\.[A-Za-z0-9_-]{16,1024}", "ya29."),
    (r"eyJ[A-Za-z0-9_-]{6,1024}\.[A-Za-z0-9_-]{4,8192}(?:\.[A-Za-z0-9_-]{0,4096})?", "eyj"),
    (r"npm_[A-Za-z0-9]{30,64}", "npm_"),
    (r"pypi-Ag[A-Za-z0-9_-]{16,512}", "pypi-ag"),
    (r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{16,64}", "dckr_"),
    (r"(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{16,255}", "_live_", "_test_"),
    (r"SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64}", "sg."),
    (r"nvapi-[A-Za-z0-9_-]{20,128}", "nvapi-"),
    (r"(?<![A-Za-z0-9])(?:r8|gsk|xai|dop_v1|lin_api|hvs|hvb|tskey)[_.-]"
     r"(?=[a-z-]{0,60}[A-Z0-9])[A-Za-z0-9_-]{20,255}",
     "r8_", "gsk_", "xai-", "dop_v1", "lin_api", "hvs.", "hvb.", "tskey"),
    (r"AGE-SECRET-KEY-1[A-Z0-9]{20,80}", "age-secret-key"),
    # Mailgun; Stripe's webhooks; Hugging Face's organisations; Slack's refreshing ones.
    (r"(?<![\w-])key-(?=[a-z]{0,60}[A-Z0-9])[A-Za-z0-9]{20,64}(?![\w-])", "key-"),
    (r"whsec_[A-Za-z0-9+/=]{16,128}", "whsec_"),
    (r"api_org_[A-Za-z0-9]{20,64}", "api_org_"),
    (r"xoxe(?:\.xox[bp])?-\d-[A-Za-z0-9-]{8,512}", "xoxe"),
    # GitLab's runners, Shopify, Atlassian, Figma, Postman, New Relic, Grafana, Databricks, Notion.
    (r"GR1348941[A-Za-z0-9_-]{16,64}", "gr1348941"),
    (r"shp(?:at|ca|pa|ss)_[A-Za-z0-9]{16,64}", "shp"),
    (r"AT(?:ATT|CTT)3[A-Za-z0-9_=-]{20,512}", "atatt3", "atctt3"),
    (r"fig[du]_[A-Za-z0-9_-]{16,128}", "figd_", "figu_"),
    (r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}", "pmak-"),
    (r"NR(?:AK|II|JS)-[A-Za-z0-9_-]{16,64}", "nrak-", "nrii-", "nrjs-"),
    (r"gl(?:sa|c)_[A-Za-z0-9_=+/-]{20,512}", "glsa_", "glc_"),
    (r"(?<![A-Za-z0-9])dapi[0-9a-f]{32}(?:-\d)?(?![A-Za-z0-9])", "dapi"),
    (r"(?<![A-Za-z0-9_])(?:secret|ntn)_(?=[a-z]{0,60}[A-Z0-9])[A-Za-z0-9]{32,64}",
     "secret_", "ntn_"),
    # HubSpot, Perplexity, Fly, Square, Telegram, Twilio, HashiCorp, Alibaba, Tencent, Doppler.
    (r"(?<![\w-])pat-(?:na|eu)\d-[0-9a-f-]{32,40}", "pat-na", "pat-eu"),
    (r"pplx-[A-Za-z0-9]{16,128}", "pplx-"),
    (r"(?<![A-Za-z0-9])fo1_[A-Za-z0-9_-]{20,128}", "fo1_"),
    (r"sq0[a-z]{3}-[A-Za-z0-9_-]{16,64}", "sq0"),
    (r"(?<!\d)\d{6,10}:(?=[A-Za-z0-9_-]{0,40}[A-Z])[A-Za-z0-9_-]{30,48}(?![\w-])", ":"),
    (r"(?<![A-Za-z0-9])(?:AC|SK)[0-9a-f]{32}(?![A-Za-z0-9])", "ac", "sk"),
    (r"(?<![A-Za-z0-9])[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{40,128}", "atlasv1"),
    (r"(?<![\w.])s\.(?=[A-Za-z]{0,23}\d)[A-Za-z0-9]{24}(?![\w.])", "s."),
    (r"(?<![A-Za-z0-9])(?:LTAI[A-Za-z0-9]{12,24}|AKID[A-Za-z0-9]{16,40})(?![A-Za-z0-9])",
     "ltai", "akid"),
    (r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9_.-]{20,128}", "dp."),
    # DigitalOcean, Supabase, PlanetScale, Pulumi, RubyGems, Sentry, Buildkite, Linear, Heroku.
    (r"do[or]_v1_[a-f0-9]{32,128}", "doo_v1_", "dor_v1_"),
    (r"(?<![A-Za-z0-9])(?:sbp|pscale_(?:tkn|pw|oauth)|rubygems|bkua|bkct|sntry[su])_"
     r"(?=[A-Za-z_]{0,60}[0-9])[A-Za-z0-9_.=+/-]{20,512}",
     "sbp_", "pscale_", "rubygems_", "bkua_", "bkct_", "sntry"),
    (r"(?<![A-Za-z0-9])pul-[a-f0-9]{32,64}", "pul-"),
    (r"HRKU-[A-Za-z0-9_-]{20,128}", "hrku-"),
    # Addresses that are secrets: whoever has one may write there.
    (r"(?<=/api/webhooks/)\d{10,24}/[A-Za-z0-9_-]{8,128}", "/api/webhooks/"),
    (r"(?<=/webhookb2/)[A-Za-z0-9@/_-]{8,256}", "/webhookb2/"),
)  # fmt: skip


def _is_base64(line: str) -> bool:
    body = line.rstrip("=")
    # A path of the same characters has more slashes.
    return (
        body.count("/") <= 4
        and any(character.isdigit() for character in body)
        and any(character.islower() for character in body)
        and any(character.isupper() for character in body)
    )


_KEYS = (
    # A private key, to its end; where that is missing, as far as there is base64.
    Shape(
        "secret",
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----"
            r"(?:(?s:(?:(?!-----).){0,20000})-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----"
            r"|(?:(?:\\[rn]|[\s\"',|>]){0,80}[A-Za-z0-9+/=]{8,20000}){0,2000})"
        ),
        ("private key",),
    ),
    # A line of one, beside whatever a log has put there.
    Shape(
        "secret",
        re.compile(r"(?<![\w+/=$.-])[A-Za-z0-9+/]{64,76}={0,2}(?![\w+/=.-])"),
        accepts=_is_base64,
    ),
    Shape(
        "secret",
        re.compile(
            r"(?:ssh-(?:rsa|dss|ed25519)|ecdsa-sha2-\w{1,20})\s{1,4}"
            r"(?P<private>AAAA[A-Za-z0-9+/=]{16,4096}(?:[ \t]+[\w.+-]{1,64}@[\w.-]{1,255})?)"
        ),
        ("aaaa",),
    ),
    # Forty hexadecimal digits are a build id, unless they are said to be a key.
    Shape(
        "secret",
        re.compile(
            r"(?i:wandb)[^\n]{0,80}?(?<![0-9A-Fa-f])(?P<private>[0-9a-fA-F]{40})(?![0-9A-Fa-f])"
        ),
        ("wandb",),
        learn=True,
    ),
)

_PASSWORD = r"(?:pass(?:word|wd|phrase|code)|pwd)"

_HEADERS_AND_URLS = (
    # Of a card or a board, by which its owner is found.
    Shape(
        "secret",
        re.compile(
            r"(?i)(?<![A-Za-z])serial[ _]?(?:number|no\.?|#)?[\"']?\s{0,20}[:=]\s{0,20}[\"']?"
            r"(?P<private>(?=[A-Z]{0,30}[0-9])[A-Z0-9-]{6,40})(?![\w.])"
        ),
        ("serial",),
        learn=True,
    ),
    Shape(
        "secret",
        re.compile(
            r"(?i)authorization\\?[\"']?\s{0,4}[:=,]\s{0,4}\\?[\"']?\s{0,4}"
            r"(?:(?:bearer|basic|token|digest|negotiate|apikey)\s{1,4})?"
            r"(?P<private>[^\s\"'\\,;]{1,8192})"
        ),
        ("authorization",),
        learn=True,
    ),
    Shape(
        "secret",
        re.compile(r"(?i)\b(?:bearer|basic)\s{1,4}(?P<private>[A-Za-z0-9._~+/=-]{8,8192})"),
        ("bearer", "basic"),
        learn=True,
        accepts=is_no_prose,
    ),
    Shape(
        "secret",
        re.compile(
            r"(?i)(?<![A-Za-z0-9-])(?:set-)?cookie2?\\?[\"']?\s{0,4}:\s{0,4}\\?[\"']?"
            r"(?P<private>[^\n\"'\\]{1,8192})"
        ),
        ("cookie",),
    ),
    # Before the host of a URL: user and password, up to the last @.
    Shape(
        "secret",
        re.compile(
            r"(?i)[a-z][a-z0-9+.-]{0,20}:\\?/\\?/(?!git@)"
            r"(?P<private>[^\s/\"'`]{1,512})@(?=[\w\[<.-])"
        ),
        ("://", ":\\/"),
    ),
    Shape(
        "secret",
        re.compile(
            r"(?i)(?:[?&;](?:amp;)?|(?<![\w.-])(?=sig=[^&\s]{16}))(?:key|sig|auth|code|jwt"
            r"|[\w-]{0,40}(?:token|secret|password|signature|credential|api_?key))"
            r"=(?P<private>[^&\s\"'<>;]{1,4096})"
        ),
        ("=",),
        learn=True,
    ),
    # ~/.netrc
    Shape(
        "secret",
        re.compile(
            r"(?i)\b(?:machine\s{1,8}[^\s\"']{1,255}|default)\s{1,8}login\s{1,8}"
            r"(?P<user>[^\s\"'\\]{1,255})\s{1,8}(?:account\s{1,8}(?P<account>[^\s\"'\\]{1,255})\s{1,8})?"
            r"password\s{1,8}(?P<private>[^\s\"'\\]{1,512})"
        ),
        ("login",),
        learn=True,
    ),
    # In words: a password is ..., and what stands in quotes after it.
    Shape(
        "secret",
        re.compile(
            rf"(?i)(?<![A-Za-z0-9-]){_PASSWORD}\s{{1,4}}(?:(?:is|was|are)[\s:]{{1,4}})?"
            r"(?P<quote>\\{0,3}[\"'])(?P<private>(?:(?!(?P=quote))[^\n]){1,255})(?P=quote)"
        ),
        ("pass", "pwd"),
    ),
    Shape(
        "secret",
        re.compile(
            rf"(?i)(?<![A-Za-z0-9-]){_PASSWORD}\s{{1,4}}(?:is|was)[\s:]{{1,4}}(?P<private>[^\s\"'\\,;]{{4,255}})"
        ),
        ("pass", "pwd"),
        learn=True,
        accepts=is_no_prose,
    ),
    # Connection strings: Server=...;Uid=...;Pwd=...;
    Shape(
        "secret",
        re.compile(
            r"(?i)(?:^|[;\"'])\s{0,4}(?:pwd|uid|user id)=(?P<private>[^;\"'\s]{1,255})(?=;|[\"']|$)"
        ),
        (";",),
    ),
)

#: A command's arguments up to the one that matters; between words as shells, JSON and /proc do it.
_ARGUMENTS = r"\b[^\n|;&]{0,400}?[\s\"',\0]"
_BETWEEN = r"[\s\"',\0]{1,6}"
_ARGUMENT = r"(?P<private>[^\s\"',\0-][^\s\"',\0]{0,255})"


def _option(programs: str, options: str, *needles: str) -> Shape:
    """Programs of which these short options take a secret."""
    pattern = rf"(?<![\w.-])(?:{programs}){_ARGUMENTS}(?:{options}){_ARGUMENT}"
    return Shape("secret", re.compile(pattern), needles, learn=True)


_COMMANDS = (
    _option(r"mysql\w*|mariadb\w*|sshpass|7z[ar]?", "-p", "-p"),
    _option("sshpass|mongo|mongosh", f"-p{_BETWEEN}", "-p"),
    _option(
        r"(?:docker|podman|helm|skopeo|buildah|az)(?=[\s\"',\0]{1,6}[^\n]{0,60}?login)",
        f"-p{_BETWEEN}", "login",
    ),
    Shape(
        "user",
        re.compile(
            r"(?<![\w.-])(?:docker|podman|helm|skopeo|buildah|az|oras)(?=[\s\"',\0]{1,6}[^\n]{0,60}?login)"
            rf"{_ARGUMENTS}(?:-u|--username)(?:{_BETWEEN}|=)(?P<user>[^\s\"',\0-][^\s\"',\0]{{0,255}})"
        ),
        ("login",),
        learn=True,
        accepts=is_uncommon,
    ),
    _option("unzip|zip", f"-P{_BETWEEN}", "zip"),
    _option("ldap[a-z]{3,8}", f"-w{_BETWEEN}", "ldap"),
    _option("redis-cli", f"-a{_BETWEEN}", "redis-cli"),
    _option("xfreerdp", "/p:", "xfreerdp"),
    _option("curl|wget|https?|xh|smbclient", f"(?:-u|--user|--proxy-user|-U)(?:{_BETWEEN}|=)",
            "-u", "--user", "--proxy-user"),
    Shape(
        "secret",
        re.compile(rf"-pass(?:in|out)?{_BETWEEN}pass:(?P<private>[^\s\"',\0]{{1,255}})"),
        ("pass:",),
        learn=True,
    ),
)  # fmt: skip

SHAPES: tuple[Shape, ...] = (
    *(Shape("secret", re.compile(each[0]), each[1:], learn=True) for each in _TOKENS),
    *_KEYS,
    *_HEADERS_AND_URLS,
    *_COMMANDS,
)
