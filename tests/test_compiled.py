"""Compiled functions, also where nothing can be kept."""

import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody who may write nowhere")
def test_somebody_who_can_write_nowhere() -> None:
    """As in a container, whose package is root's and whose user has no home."""
    script = """if True:
        import os
        os.setuid(65534)
        from taskcatalog.corpus.stores.kernels import copy_stretches
        import numpy as np
        target = np.zeros(4, np.uint16)
        one = np.ones(1, np.int64)
        copy_stretches(np.arange(5, 9, dtype=np.uint16), one, one * 2, target, one)
        print(target.tolist())
    """
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[0, 6, 7, 0]\n", "")
