"""Objectives, losses, and the step in z."""
