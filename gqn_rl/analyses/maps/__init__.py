"""Maps of mazes drawn out of r, and what r does not know: how near the maps come, and where to look next."""
