"""The shared kernel: vocabulary, settings, database, local services, command line."""

ENGINE_VERSION = "0.1.0"
"""Version of the code that computes observations and scores; stored with every score."""
