"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import os
import threading
import time

LOOK_AGAIN_S = 1.0


def end_with_parent() -> None:
    """Ends this process soon after its parent has ended, whatever it is doing then.

    Its pipe would tell only when it is next used, which may be never. The system could send a signal (Linux's
    PR_SET_PDEATHSIG), but sends it when the thread ends that started the process. Windows has no new parent to notice.
    """
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True, name="end with parent").start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_AGAIN_S)
    os._exit(1)
