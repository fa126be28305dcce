"""Studies: the runs of a comparison as data, and the runner that makes, resumes and collects them."""
