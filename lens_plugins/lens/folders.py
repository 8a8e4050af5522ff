"""The former place of `lens_plugins.files.folders`; goes when nothing names it any more."""

from ..files.folders import CONFIG_FILE, WEIGHTS_FILE, save_folder

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "save_folder"]
