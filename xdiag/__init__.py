"""xdiag: find out why a GPU stream handle is refused, and prove it by experiment."""

__version__ = "0.1.0"
