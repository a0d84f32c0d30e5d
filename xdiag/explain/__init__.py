"""What people have when something has failed, explained: logs, tracebacks, maps, xdiag's documents.

``explanation.explain`` reads sources as streams, line kinds mixed as they come; what it returns
names no cause that the text does not support.
"""
