"""What predicts: one module a kind, each with `open_model(files, description, runtime)`.

A module here imports its library at its top, and nothing imports a module here but
`inference.open_model`: a replica pays for its own library only.
"""
