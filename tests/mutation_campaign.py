"""A longer campaign of damaged files than the suite has time for: counts what became of them, for docs/reliability.md.

    python -m tests.mutation_campaign 10000

Ends with the first traceback, hang, or wrong value of a file that has a digest; the input is then shrunk and shown.
"""

from __future__ import annotations

import collections
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.mutations import Artefact, edited, edits, make_artefacts, outcome, plain, replaced, replacements

OUTCOMES = ("refused", "the same", "other")


def campaign(artefact: Artefact, num_inputs: int) -> collections.Counter[str]:
    """Reads an artefact damaged in `num_inputs` ways; every third time, JSON has entries replaced instead of bytes."""
    content, whole = artefact.path.read_bytes(), plain(artefact.read())
    counts: collections.Counter[str] = collections.Counter()
    by_entry = artefact.reseal is not None or artefact.name == "run.json"
    bounds = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
    bounds |= {"phases": (Phase.generate, Phase.shrink)}

    @seed(1)
    @settings(max_examples=num_inputs - by_entry * (num_inputs // 3), **bounds)
    @given(edits())
    def damage_bytes(changes):
        artefact.path.write_bytes(edited(content, changes))
        found = outcome(artefact, whole)
        assert found != "other" or not artefact.has_digest
        counts[found] += 1

    @seed(2)
    @settings(max_examples=num_inputs // 3, **bounds)
    @given(replacements())
    def damage_entries(changes):
        document = replaced(json.loads(content), changes)
        if artefact.reseal is not None:
            artefact.reseal(document)
        else:
            artefact.path.write_text(json.dumps(document))
        counts[outcome(artefact, whole)] += 1

    damage_bytes()
    if by_entry:
        damage_entries()
    artefact.path.write_bytes(content)
    return counts


def main() -> None:
    """Prints a row for each artefact."""
    logging.disable(logging.WARNING)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        artefacts = make_artefacts(Path(folder))
        share, total = -(-int(sys.argv[1]) // len(artefacts)), collections.Counter()
        print("| file | inputs | refused | read as written | read as something else |\n|---|---|---|---|---|")
        for artefact in artefacts:
            counts = campaign(artefact, share)
            total += counts
            print(
                f"| {artefact.name} | {sum(counts.values())} | " + " | ".join(str(counts[k]) for k in OUTCOMES) + " |"
            )
    print(f"| all | {sum(total.values())} | " + " | ".join(str(total[k]) for k in OUTCOMES) + " |")
    print(f"{time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    main()
