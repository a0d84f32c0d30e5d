"""``python -m xdiag``."""

from xdiag.cli import main

if __name__ == "__main__":
    main()
