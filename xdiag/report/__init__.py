"""The bundle for a bug report: what was seen here, masked, as one file to attach to an issue.

``gather`` looks, ``compose`` writes down, ``Bundle`` masks and packs; nothing gets into the file
but through ``Bundle.add``.
"""
