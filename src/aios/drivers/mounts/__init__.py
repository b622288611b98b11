"""Folders of this machine as the kernel's mounts see them: entered beneath their root only, and watched."""
