"""Pretraining of a scene model on multi-view data: the loop, its schedules, and what is measured on the way."""
