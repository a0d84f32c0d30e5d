"""The record of a run: create and read its file, and tell who owns a handle.

The file is written by the audit library (``cffi_build/audit``), in the processes that are recorded.
Nothing here starts or looks at a process: a record may be of another machine, and of a run that has
ended in the middle of a word.
"""
