"""Facts about a machine, an image of one, or a process's view of one, read from files.

Nothing here is loaded, imported or run, and nothing is judged: that is for ``xdiag.doctor``.
"""
