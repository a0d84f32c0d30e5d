"""Looks of the style names: what a terminal and a page make of ``labels.STYLES``."""

from __future__ import annotations

#: Style name to rich style.  Colour only ever repeats what the label says.
TERMINAL = {
    "ok": "green",
    "refused": "bold red",
    "error": "red",
    "fault": "bold magenta",
    "setup": "yellow",
    "absent": "dim",
    "pass": "green",
    "warn": "yellow",
    "fail": "bold red",
    "skip": "dim",
    "err": "bold magenta",
}

#: Style name to CSS class; the page's style sheet has a rule for each.
CSS = {
    "ok": "ok",
    "refused": "refused",
    "error": "error",
    "fault": "fault",
    "setup": "setup",
    "absent": "absent",
    "pass": "ok",
    "warn": "setup",
    "fail": "refused",
    "skip": "absent",
    "err": "fault",
}
