"""Nobody outlives a program that starts servers, however that ends: by SIGTERM as by Ctrl-C, and not even by SIGKILL."""
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent, number=signal.SIGKILL):
    """For preexec_fn: the child gets the signal when the thread that made it ends, however that comes."""
    libc = ctypes.CDLL(None)

    def ask():
        libc.prctl(PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:
            os._exit(1)
    return ask


def end_at_sigterm():
    """All `with` blocks are left: folders are removed."""
    def end(number, _):
        signal.signal(number, signal.SIG_IGN)  # a second one must not cut the removal short
        sys.exit(128 + number)
    signal.signal(signal.SIGTERM, end)
