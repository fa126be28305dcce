"""Progress bars in log files and on terminals."""

import io

import pytest

from gqn_rl.progress import tqdm


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_file_gets_lines_and_few_of_them():
    """The first and the last, and one whenever ten seconds have passed; nothing is drawn over."""
    now, file = 0.0, io.StringIO()
    with tqdm(total=1000, file=file, desc="work", miniters=1) as bar:
        bar._time = lambda: now
        bar.start_t = bar.last_print_t = now
        for _ in range(1000):
            now += 0.035
            bar.update()
    lines = file.getvalue().split("\n")[:5]
    assert (
        not file.getvalue().split("\n", 5)[5].strip()
        and all(line.startswith("work") for line in lines)
        and "\r" not in file.getvalue()
    )
    assert lines[0].startswith("work:   0%") and lines[-1].startswith("work: 100%")


@pytest.mark.parametrize("leave", [True, False])
def test_a_terminal_gets_a_bar_in_place(leave):
    """As tqdm draws it."""
    file = Terminal()
    with tqdm(total=3, file=file, leave=leave, mininterval=0) as bar:
        bar.update(3)
    assert "\r" in file.getvalue() and "3/3" in file.getvalue()
