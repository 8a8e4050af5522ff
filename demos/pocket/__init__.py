"""The recipe of the small hosts and lenses that ship with lens-plugins. It stands outside the package."""
