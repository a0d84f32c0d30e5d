"""Which runtimes there are, where more come from, and which one an experiment uses.

``find`` lists what is on disk, ``fetch`` adds AMD's runtime without root, ``choose`` picks one and
says what executes below it: hardware, or the software agent.
"""
