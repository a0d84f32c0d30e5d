"""glibc's dynamic loader, simulated: which file each name would lead to, before anything runs.

The rules are those of glibc 2.17 to 2.42, read from its source and held against the loader of the
machine that the tests run on; docs/loader.md lists them.
"""
