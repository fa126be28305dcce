"""Commands given in the process of the test: what they do is the same, and nothing has to be imported once more.

Whatever depends on a process of its own (what is imported before what, signals, OpenGL) needs a subprocess instead.
"""

import contextlib
import importlib
import io
import logging
import os
import sys
import traceback
import warnings
from types import SimpleNamespace
from unittest import mock

import torch


def give(folder, module, *words):
    """Gives `python -m gqn_rl.<module> <words>` in a folder; returns exit status and what was said, as text.

    Working folder, arguments, environment variables, threads and filters of warnings are afterwards as before.
    """
    out, err = io.StringIO(), io.StringIO()
    name = f"gqn_rl.{module}" if module not in ("pretrain", "study") else f"gqn_rl.{module}.__main__"
    main = importlib.import_module(name).main
    threads, modes = torch.get_num_threads(), torch.backends.cudnn.deterministic
    with (
        contextlib.chdir(folder),
        mock.patch.object(sys, "argv", [f"gqn_rl.{module}", *map(str, words)]),
        mock.patch.dict(os.environ),
        # Hydra sets up logging anew and closes all handlers; absl's closes the stream that it found once: pytest's.
        mock.patch.object(logging, "shutdown"),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        warnings.filterwarnings("ignore", "TF32 acceleration")
        warnings.showwarning = lambda *what, **_: print(warnings.formatwarning(*what[:4]), end="", file=sys.stderr)
        try:
            status = _status(main)
        finally:
            torch.set_num_threads(threads)
            torch.backends.cudnn.deterministic = modes
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())


def _status(main):
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    except Exception:
        traceback.print_exc()
        return 1
    return 0
