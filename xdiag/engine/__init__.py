"""Runs cells: each in a child of its own, forked from a warm parent."""
