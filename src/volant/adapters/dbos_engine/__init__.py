"""Durable runs on DBOS Transact."""
