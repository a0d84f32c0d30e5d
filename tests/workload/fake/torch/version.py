"""Written into by the tests' environment: see conftest.py."""

__version__ = "2.99.0"
cuda: str = None
hip: str = None
