"""Representations: what r is, and how a query looks at it; one file for each geometry of r."""
