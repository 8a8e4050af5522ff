"""Training data of the pocket hosts: from packages of named 3D models and pictures to packed arrays.

`sources` says what is fetched, `sweethome` reads the catalogues, `classes` and `captions` name things, `meshes`,
`render` and `clouds` draw and sample them, `split` holds objects out, `pictures` brings flat pictures to one form,
`materials` makes surfaces by formula, `pack` is the file format and `build` runs it all. `generate` is a script for an
environment of its own.
"""

from __future__ import annotations

__all__ = [
    "attribution",
    "build",
    "captions",
    "classes",
    "clouds",
    "generate",
    "materials",
    "meshes",
    "objects",
    "pack",
    "pictures",
    "render",
    "sources",
    "split",
    "sweethome",
]
