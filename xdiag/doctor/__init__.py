"""Opinions: facts from ``discover``, ``loader`` and ``process`` are judged, and become findings.

``catalogue`` has the checks, an ``examination`` runs them on a ``Patient``.  Nothing here prints.
"""
