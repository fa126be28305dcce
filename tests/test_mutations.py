"""Whatever happens to a file, reading it ends soon, in what was written or in one sentence; see docs/reliability.md."""

import json

import pytest
from hypothesis import HealthCheck, given, settings

from tests.mutations import edited, edits, make_artefacts, outcome, plain, replaced, replacements

BYTES, ENTRIES = 160, 200
"""Inputs for each artefact; altogether more than 2 000."""
NAMES = (
    *("manifest", "manifest, continued", "record of a shard", "memory of verification"),
    *("shard, images", "shard, viewpoints", "shard, state", "encoder", "resume file"),
    *("agent's checkpoint", "run.json", "eval.csv", "progress.csv", "TFRecord"),
)
BOUNDED = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory):
    """One of each, by name."""
    return {artefact.name: artefact for artefact in make_artefacts(tmp_path_factory.mktemp("artefacts"))}


@pytest.mark.parametrize("name", NAMES)
def test_damaged_bytes_are_refused_or_harmless(artefacts, name):
    """Flipped, replaced, inserted, deleted and repeated bytes give a sentence, or the very values that were written."""
    artefact = artefacts[name]
    content, whole = artefact.path.read_bytes(), plain(artefact.read())

    @settings(max_examples=BYTES, **BOUNDED)
    @given(edits())
    def damage(changes):
        artefact.path.write_bytes(edited(content, changes))
        assert outcome(artefact, whole) != "other" or not artefact.has_digest

    try:
        damage()
    finally:
        artefact.path.write_bytes(content)


@pytest.mark.parametrize("name", ["manifest", "run.json"])
def test_entries_of_another_kind_are_refused_or_harmless(artefacts, name):
    """Entries of JSON that are replaced or dropped, under a right digest where there is one, raise nothing else."""
    artefact = artefacts[name]
    content, whole = artefact.path.read_bytes(), plain(artefact.read())
    write = artefact.reseal or (lambda document: artefact.path.write_text(json.dumps(document)))

    @settings(max_examples=ENTRIES, **BOUNDED)
    @given(replacements())
    def damage(changes):
        write(replaced(json.loads(content), changes))
        assert outcome(artefact, whole) in ("refused", "the same", "other")

    try:
        damage()
    finally:
        artefact.path.write_bytes(content)
