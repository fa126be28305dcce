"""The Hydra configs of the command lines; a package only so that they are found in an installed wheel."""
