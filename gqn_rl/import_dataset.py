"""Imports DeepMind's gqn-datasets, or other data in their format. The same command continues an interrupted import.

python -m gqn_rl.import_dataset source=downloads/jaco name=jaco
python -m gqn_rl.import_dataset source=downloads/mazes name=mazes num_scenes=2000 held_out_scenes=200
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from omegaconf import DictConfig

from gqn_rl.cli import command
from gqn_rl.dataset import import_dataset

NUM_SHOWN = 5
"""Refused records that are printed; the manifest names all."""


@command("import_dataset")
def main(cfg: DictConfig) -> None:
    """Imports the data set that the config names."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    start = time.monotonic()
    manifest, num_imported = import_dataset(
        cfg.root,
        cfg.source,
        name=cfg.name,
        image_size=cfg.image_size,
        crop=cfg.crop,
        num_scenes=cfg.num_scenes,
        held_out_scenes=cfg.held_out_scenes,
        strict=cfg.strict,
        num_workers=cfg.num_workers,
        scenes_per_shard=cfg.scenes_per_shard,
        overwrite=cfg.overwrite,
    )
    seconds = time.monotonic() - start
    sizes, refused = manifest["num_scenes"], manifest["refused"]
    speed = f"{num_imported} scenes in {seconds:.0f} s, {num_imported / seconds:.0f}/s"
    print(
        f"`{Path(cfg.root).resolve()}`: {sizes['train']} + {sizes['heldout']} held-out scenes of "
        f"{manifest['views_per_scene']} views, {speed if num_imported else 'already whole'}; "
        f"{len(refused) or 'no'} record{'s' * (len(refused) != 1)} refused."
    )
    for entry in refused[:NUM_SHOWN]:
        print(f"  {entry['file']} at byte {entry['offset']}: {entry['reason']}")
    if len(refused) > NUM_SHOWN:
        print(f"  and {len(refused) - NUM_SHOWN} more, named in manifest.json")


if __name__ == "__main__":
    main()
