"""The ``medvae`` command."""
