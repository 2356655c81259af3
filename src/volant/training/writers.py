"""Whether anybody has a file open for writing."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

_F_SETSIG = getattr(fcntl, "F_SETSIG", 10)  # Python 3.11 doesn't name it; 10 on Linux


def being_written(path: Path) -> bool:
    """Whether a process, this one included, has `path` open for writing.

    The kernel grants a read lease on a file only while nobody has (fcntl(2), F_SETLEASE).
    Where leases can't be had, on some network disks or another user's files, the answer is
    False. Raises `FileNotFoundError`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        # Whoever opens the file while the lease is held makes the kernel send its holder
        # this signal; the usual one, SIGIO, would end the process.
        fcntl.fcntl(descriptor, _F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
