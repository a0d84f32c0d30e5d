"""The case's Test 5: two models on one GPU, one of which is in a hurry, measured to the end.

Arrangements (streams, priorities, XSched's queues) times drivers (Python threads, pthreads on
LibTorch), each in a process of its own.  What needs torch is in ``child`` and runs in the
interpreter that has it; nothing of torch is imported here.
"""
