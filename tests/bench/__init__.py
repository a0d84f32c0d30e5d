"""Benchmarks: medians and ratios against a peer or a bare C program in the same run.

``make bench`` runs them all; ``python -m bench NAME...`` some.  Nothing here is a test: a
figure that got worse is for a person to see.
"""
