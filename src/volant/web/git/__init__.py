"""Codesets over git's smart HTTP, and the webhooks of what they mirror."""
