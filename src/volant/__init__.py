"""Volant: one package that turns new data into a better model in production."""

__version__ = "0.1.0"
