"""Volant's replica beside other model servers: `make bench-serving`."""
