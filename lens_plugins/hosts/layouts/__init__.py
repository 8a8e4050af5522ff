"""Key tables of other libraries' host files, as data."""
