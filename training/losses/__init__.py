"""Distances and losses that trainings share."""
