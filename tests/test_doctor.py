"""The doctor: reports what is there, keeps going past what is broken, and says what to do."""

import io
import sys

import pytest

from gqn_rl import doctor
from gqn_rl.doctor import Finding


def test_report_on_this_machine_names_everything_asked_for(capsys):
    """On a machine where the tests run, nothing essential is broken and every line is there."""
    assert doctor.main() == 0
    said = capsys.readouterr().out
    for name in ("python", "torch", "mujoco", "gymnasium", "stable_baselines3", "numpy", "gqn_rl", "OpenGL"):
        assert f"  {name} " in said
    for name in ("GL vendor", "GL renderer", "frames/s", "cores", "threads", "device", "disk"):
        assert f" {name} " in said


def test_help_is_printed_and_nothing_is_examined(monkeypatch, capsys):
    """`--help` says what the doctor does; a word that it does not know is refused with status 2."""
    monkeypatch.setattr(doctor, "CHECKS", ())
    for arguments, status in ((["--help"], 0), (["-h"], 0), (["threads=1"], 2)):
        with pytest.raises(SystemExit) as ended:
            doctor.main(arguments)
        assert ended.value.code == status
        out, err = capsys.readouterr()
        assert "usage: python -m gqn_rl.doctor" in out + err and "in order" not in out
        assert ("Says whether this machine is fit" in out) == (status == 0)
        assert ("unrecognized arguments: threads=1" in err) == (status == 2)


def test_a_console_without_utf8_gets_the_report(monkeypatch):
    """What it cannot show, such as ×, is replaced."""
    console = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(doctor, "CHECKS", (lambda: iter([Finding("frames/s", "3000 (64×64)")]),))
    monkeypatch.setattr(sys, "stdout", console)
    assert doctor.main() == 0
    console.flush()
    assert b"  frames/s  3000 (64?64)\n" in console.buffer.getvalue()


def test_broken_check_is_reported_and_the_others_still_run(monkeypatch, capsys):
    """An exception in one check becomes a line with a cure, and exit status 1."""

    def check_opengl():
        yield Finding("GL vendor", "Mesa")
        raise RuntimeError("no display")

    monkeypatch.setattr(doctor, "CHECKS", (check_opengl, doctor.check_disk))
    assert doctor.main() == 1
    said = capsys.readouterr().out
    assert "! opengl" in said
    assert "libosmesa6" in said
    assert "RuntimeError: no display" in said
    assert "GL vendor" in said
    assert "disk" in said


def test_missing_package_is_essential(monkeypatch):
    """A package that is not installed is named with the command that installs it."""
    monkeypatch.setattr(doctor, "versions", lambda: {"mujoco": "not installed"})
    assert list(doctor.check_versions()) == [
        Finding("mujoco", "not installed", "Install it: pip install mujoco.", essential=True)
    ]


@pytest.mark.parametrize(
    ("drawn_by", "has_gpu", "advises"),
    [
        ("llvmpipe (LLVM 15.0.6, 256 bits)", True, True),
        ("llvmpipe (LLVM 15.0.6, 256 bits)", False, False),
        ("NVIDIA H100/PCIe/SSE2", True, False),
    ],
)
def test_drawing_on_the_cpu_beside_a_gpu_is_advised_against(drawn_by, has_gpu, advises):
    """Software rendering is a fault only where there is a GPU to do it."""
    advice = doctor.renderer_advice("egl", drawn_by, has_gpu)
    assert ("rendering runs on the CPU" in advice) == advises


def test_little_disk_is_said_but_not_essential(monkeypatch):
    """A nearly full disk is a warning."""
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: doctor.shutil._ntuple_diskusage(100, 99, 10**9))
    (finding,) = doctor.check_disk()
    assert (finding.value, bool(finding.advice), finding.essential) == ("1 GB free here", True, False)
