"""`videofusion ...` for a comparison: a process that ends, as by SIGTERM, when the one that began it does.

What began it holds the other end of its standard input, which the system closes however that process dies.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def _end_with_parent() -> None:
    while os.read(0, 1):  # not by `sys.stdin`, whose lock forked processes would wait for
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from videofusion.cli import main

    sys.exit(main())
