"""The half of the sandbox that runs inside it, on the system's own Python (3.9 or newer), standard library only.

A chain of processes, each trusted less than the one before::

    host ── socket ── server ── supervisor ── first process ── the untrusted program
                      forever   one a run     of the run's      no rights left
                                              PID namespace

The server never reads a request: a fresh supervisor does, so nothing of one run is in the memory the next is forked
from. The host imports only ``frames`` from here.
"""
