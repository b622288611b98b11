"""Mounts: each keeps a folder of an owner's files and a directory of this machine the same."""
