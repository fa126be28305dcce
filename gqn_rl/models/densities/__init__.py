"""Image densities p(x | v, r): what pictures a viewpoint sees, given what the representation knows."""
