"""Says whether this machine is fit for the package, and what to do where it is not.

    python -m gqn_rl.doctor

Exit status 1 when something essential (a package, off-screen rendering, the scene) does not work. What may be broken is
imported by the check that looks at it.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gqn_rl.cli import versions
from gqn_rl.command_words import let_consoles_take_all_characters
from gqn_rl.machine import available_cores

SLOW_FRAMES_PER_S = 200.0
"""Below this, at 64×64, something is wrong even for rendering on a CPU (3 000 are usual on a free core)."""
LITTLE_DISK_GB = 10.0
"""A data set of 20 000 scenes with their checkpoints takes about half of this."""
TRIAL_LIMIT_S = 600.0
"""Of a process that is started for a trial: far more than a busy machine takes to import torch."""
TIMING_S = 1.0
"""How long frames are rendered for a figure."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, what was found, and what to do when that is wrong."""

    name: str
    value: str
    advice: str = ""
    essential: bool = False


def main(arguments: Sequence[str] = ()) -> int:
    """Prints the report; returns 1 when something essential is broken, else 0.

    Raises:
        SystemExit: help was asked for (status 0), or something that the doctor does not know (2).
    """
    let_consoles_take_all_characters()
    style = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser("python -m gqn_rl.doctor", description=__doc__, formatter_class=style).parse_args(arguments)
    findings = [finding for check in CHECKS for finding in run_check(check)]
    print(report(findings))
    return int(any(finding.essential for finding in findings))


def run_check(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Runs a check; an exception becomes an essential finding, so that the others are still reported."""
    findings = []
    try:
        for finding in check():
            findings.append(finding)
    except Exception as error:  # whatever breaks here is what the doctor is there to report
        name = check.__name__.removeprefix("check_")
        findings.append(
            Finding(name, "broken", f"{CURES.get(name, '')}{type(error).__name__}: {error}", essential=True)
        )
    return findings


def report(findings: list[Finding]) -> str:
    """Lays the findings out as a table, followed by the advice.

    >>> print(report([Finding("disk", "2 GB free", "Free some room."), Finding("cores", "2")]))
    ! disk    2 GB free
      cores   2
    <BLANKLINE>
    To do:
      disk: Free some room.
    """
    width = max(len(finding.name) for finding in findings) + 2
    lines = [f"{'!' if finding.advice else ' '} {finding.name:<{width}}{finding.value}" for finding in findings]
    to_do = [f"  {finding.name}: {finding.advice}" for finding in findings if finding.advice]
    return "\n".join([*lines, "", *(["To do:", *to_do] if to_do else ["Everything is in order."])])


def check_versions() -> Iterator[Finding]:
    """Lists the versions of everything that decides what a run computes."""
    for name, version in versions().items():
        missing = version == "not installed"
        yield Finding(name, version, f"Install it: pip install {name}." if missing else "", essential=missing)


def check_opengl() -> Iterator[Finding]:
    """Opens an off-screen OpenGL context and says who draws."""
    import torch

    from gqn_rl.envs import opengl

    backend = opengl.open_gl_context().backend
    vendor, drawn_by = opengl.gl_strings()
    wanted = os.environ.get("MUJOCO_GL", "unset")
    yield Finding("OpenGL", f"{backend} (MUJOCO_GL is {wanted})")
    yield Finding("GL vendor", vendor)
    place = "on the CPU" if draws_on_cpu(drawn_by) else "on the GPU"
    yield Finding("GL renderer", f"{drawn_by}, {place}", renderer_advice(backend, drawn_by, torch.cuda.is_available()))


def check_triton() -> Iterator[Finding]:
    """Tries in a process of its own whether triton can be imported after a picture was drawn."""
    if importlib.util.find_spec("triton") is None:
        yield Finding("triton", "not installed, torch.compile on a GPU needs it")
        return
    ended = subprocess.run(
        [sys.executable, "-c", _DRAW_THEN_TRITON], capture_output=True, text=True, timeout=TRIAL_LIMIT_S
    )
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or [f"status {ended.returncode}"])[-1]
        raise RuntimeError(last if ended.returncode > 0 else f"ended by signal {-ended.returncode}")
    yield Finding("triton", f"{ended.stdout.strip()}, works beside OpenGL")


_DRAW_THEN_TRITON = """
from gqn_rl.envs.opengl import gl_strings
gl_strings()
import triton
import triton.language
print(triton.__version__)
"""


def renderer_advice(backend: str, drawn_by: str, has_gpu: bool) -> str:
    """Says what to do when a machine with a GPU draws on its CPU."""
    if not (has_gpu and draws_on_cpu(drawn_by)):
        return ""
    return (
        f"MUJOCO_GL={backend} but the renderer is {drawn_by}: rendering runs on the CPU although there is a GPU. "
        "Install the driver's EGL (libnvidia-gl; in a container set NVIDIA_DRIVER_CAPABILITIES=all), use MUJOCO_GL=egl."
    )


def draws_on_cpu(gl_renderer: str) -> bool:
    """Tells whether this OpenGL renderer is one of Mesa's software rasterisers."""
    return any(name in gl_renderer.lower() for name in ("llvmpipe", "softpipe", "swrast"))


def check_scene() -> Iterator[Finding]:
    """Times pictures of the Jaco scene at 64×64, each of a new pose, with a new scene every ten."""
    from gqn_rl.envs import make_scene

    scene = make_scene("jaco")
    rng = np.random.default_rng(0)
    scene.sample(rng)
    scene.render(scene.sample_pose(rng))  # the first picture uploads the meshes
    num_frames, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < TIMING_S:
        if num_frames % 10 == 0:
            scene.sample(rng)
        scene.render(scene.sample_pose(rng))
        num_frames += 1
    scene.close()
    rate = num_frames / elapsed
    slow = "Something else may be using the cores; or try MUJOCO_GL=egl and MUJOCO_GL=osmesa and keep the faster."
    yield Finding("frames/s", f"{rate:.0f} (Jaco at 64×64, one process)", slow if rate < SLOW_FRAMES_PER_S else "")


def check_compute() -> Iterator[Finding]:
    """Says which cores, threads and device torch computes on, and whether pretraining uses bfloat16 there."""
    import torch

    from gqn_rl.devices import pick_device, uses_bf16

    cores, threads, device = available_cores(), torch.get_num_threads(), pick_device("auto")
    advice = "More threads than cores make training several times slower: set `threads=` or OMP_NUM_THREADS."
    yield Finding("cores", f"{cores} of {os.cpu_count()} usable")
    yield Finding("threads", f"{threads} in torch", advice if threads > cores else "")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    yield Finding("device", f"{name}, {'bfloat16' if uses_bf16('auto', device) else 'float32, no fast bfloat16'}")


def check_disk() -> Iterator[Finding]:
    """Says how much room is left where the command is given."""
    free_gb = shutil.disk_usage(".").free / 1e9
    advice = "Little room: a data set of 20 000 scenes takes several GB." if free_gb < LITTLE_DISK_GB else ""
    yield Finding("disk", f"{free_gb:.0f} GB free here", advice)


CURES = {
    "opengl": "Unset MUJOCO_GL or set it to egl, osmesa or glfw (glfw needs a display), and install Debian's packages "
    "libegl1, libgl1-mesa-dri and libosmesa6 or their like. What was said: ",
    "triton": "Triton's and Mesa's copies of LLVM do not go together here: `pip install --force-reinstall triton`, or, "
    "on a machine without a GPU, `pip uninstall triton`. What was said: ",
    "scene": "See to OpenGL first, then `pip install --force-reinstall dm_control mujoco`. What was said: ",
}
"""What to do when a check breaks."""

CHECKS = (check_versions, check_opengl, check_triton, check_scene, check_compute, check_disk)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
