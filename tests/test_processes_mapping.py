"""A function applied to many items by several processes."""

import os
import signal
import time

import pytest

from gqn_rl.processes import map_in_order

pytestmark = pytest.mark.usefixtures("quick_workers")


def double(number):
    if number % 5 == 0:
        time.sleep(0.02)  # the others come before it
    return [2 * number] * 20_000  # more than a pipe holds


def wait_first(number):
    if number == 0:
        time.sleep(0.5)  # every other item that may wait for it is done by then
    return number


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(number):
    raise KeyError("no such number")


def test_results_come_in_order_whoever_is_faster():
    """Each with the label of its item; items are taken only as far ahead as may wait."""
    taken = []

    def items():
        for number in range(50):
            taken.append(number)
            yield str(number), number

    for count, (label, (result, *_)) in enumerate(map_in_order(double, items(), 2)):
        assert (label, result) == (str(count), 2 * count)
        assert len(taken) <= count + 1 + 2 * 8
    assert count == 49


def test_results_that_waited_for_a_slow_one_do_not_end_the_rest():
    """A worker that waits because enough results wait gets its next item when they have been taken."""
    items = [(str(number), number) for number in range(60)]
    assert list(map_in_order(wait_first, items, 2)) == items


def test_no_items_give_no_results():
    """And end at once."""
    assert list(map_in_order(double, [], 2)) == []


@pytest.mark.parametrize(("function", "message"), [(die, "killed by SIGKILL"), (fail, "KeyError: 'no such number'")])
def test_a_process_that_dies_or_fails_is_told(function, message):
    """Nobody waits for its answer."""
    with pytest.raises(ChildProcessError, match=message):
        list(map_in_order(function, [("a", 1), ("b", 2)], 2))
