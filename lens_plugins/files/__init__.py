"""The one place that opens what others wrote: regular files only, sizes before data, one reader a format."""
