"""Trainings that are written already; see `volant.domain.recipe` for their options."""
