"""Agents, and what their training leaves behind in a run folder."""
