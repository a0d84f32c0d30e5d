"""Facts about one process, running or ended with a core file; nothing here is judged.

Read from /proc, from the files that are mapped, and from memory.  The process is never stopped,
traced or signalled: no ptrace(2) request is made.
"""
