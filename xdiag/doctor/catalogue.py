"""The catalogue of checks.  To add one, add an entry to the module of its group in ``checks``."""

from __future__ import annotations

from xdiag.doctor.checks import devices, environment, forecast, python, runtimes, xsched

#: In the order in which they are run and shown; a check comes after those that it requires.
CHECKS = (
    *runtimes.CHECKS,
    *python.CHECKS,
    *xsched.CHECKS,
    *environment.CHECKS,
    *devices.CHECKS,
    *forecast.CHECKS,
)
