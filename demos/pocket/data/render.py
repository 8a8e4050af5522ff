"""Views of a mesh with VTK, off screen: RGBA without background, depth for some, light and camera drawn at random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lens_plugins._optional import require
from lens_plugins.errors import InputError

from .meshes import Mesh, Part, read_texture

__all__ = ["Camera", "DEPTH_VIEWS", "SIDE", "VIEWS", "Studio", "cameras"]

SIDE, SUPER = 128, 2  # pixels of a view; drawn SUPER times larger and averaged
VIEWS, DEPTH_VIEWS = 24, 8
FEATURE_ANGLE = 35.0  # degrees; sharper edges keep their crease
MIN_OPACITY = 0.35  # clear glass would leave nothing to see


@dataclass(frozen=True)
class Camera:
    """One view: angles in degrees, field of view in radians, distance in radii of the object; azimuth 0 faces +z."""

    azimuth: float
    elevation: float
    fov: float
    distance: float

    def to_dict(self) -> dict[str, float]:
        """Plain rounded values."""
        return {name: round(float(value), 3) for name, value in asdict(self).items()}


def cameras(extent: np.ndarray, count: int, rng: np.random.Generator) -> list[Camera]:
    """Cameras all around an object of extent (3,): more from the front of a thin one, from above a flat one.

    Catalogue models face +z; a wall socket seen from behind shows nothing of itself.
    """
    width, height, depth = (float(v) for v in extent)
    thin, flat = depth < 0.3 * max(width, height), height < 0.12 * max(width, depth)
    start = rng.uniform(0, 1)
    views = []
    for i in range(count):
        turn = ((i + start + rng.uniform(-0.4, 0.4)) / count % 1) * 2 - 1  # -1 .. 1, stratified
        azimuth = 180 * np.sign(turn) * abs(turn) ** (2.2 if thin else 1.0)
        elevation = rng.uniform(25, 80) if flat else rng.uniform(-5, 50)
        fov = rng.uniform(0.4, 0.9)
        views.append(Camera(azimuth, elevation, fov, rng.uniform(0.75, 1.0) / np.sin(fov / 2)))
    return [views[i] for i in rng.permutation(count)]


class Studio:
    """One off-screen window, used for one mesh after another.

    `shoot` yields for each camera the picture (S, S, 4) uint8, alpha not premultiplied, and, where asked, the depth
    (S, S) uint16: distance to the camera's plane in thousandths of the object's radius, 0 where there is nothing.
    """

    def __init__(self, side: int = SIDE) -> None:
        core = require("vtkmodules.vtkRenderingCore", extra="pocket")
        require("vtkmodules.vtkRenderingOpenGL2", extra="pocket")
        self.side, self._core = side, core
        self._window = core.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetSize(side * SUPER, side * SUPER)
        self._window.SetMultiSamples(0)
        self._window.SetAlphaBitPlanes(1)
        self._renderer = core.vtkRenderer()
        self._renderer.SetBackground(0, 0, 0)
        self._renderer.SetBackgroundAlpha(0)
        self._renderer.SetAutomaticLightCreation(False)
        self._window.AddRenderer(self._renderer)

    def shoot(
        self, mesh: Mesh, views: list[Camera], rng: np.random.Generator, depths: int = 0
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Draw `mesh` from every camera; the first `depths` of them with depth."""
        low, high = mesh.bounds()
        centre, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
        if not radius > 0:
            raise InputError(f"The mesh has a radius of {radius:g}; it must be above 0 to be drawn.")
        actors = [self._actor(part) for part in mesh.parts]
        for actor in actors:
            self._renderer.AddActor(actor)
        try:
            for i, view in enumerate(views):
                self._aim(view, centre, radius)
                self._light(actors, rng)
                yield self._picture(), self._depth(actors, radius) if i < depths else None
        finally:
            self._renderer.RemoveAllViewProps()
            self._renderer.ReleaseGraphicsResources(self._window)

    def _actor(self, part: Part) -> Any:
        """A part as VTK draws it, shaded smoothly, lit from both sides."""
        core, material = self._core, part.material
        mapper = core.vtkPolyDataMapper()
        mapper.SetInputData(_polydata(part))
        mapper.ScalarVisibilityOff()
        actor = core.vtkActor()
        actor.SetMapper(mapper)
        surface = actor.GetProperty()
        textured = material.texture is not None and part.uv is not None
        colour = (1.0, 1.0, 1.0) if textured else material.colour  # the picture already holds the colour
        surface.SetColor(*colour)
        surface.SetSpecular(material.specular)
        surface.SetSpecularPower(material.shininess)
        surface.SetOpacity(max(material.opacity, MIN_OPACITY))
        if textured:
            actor.SetTexture(self._texture(material.texture))
        if material.opacity > 0.99:
            actor.ForceOpaqueOn()
        return actor

    def _texture(self, path: Any) -> Any:
        data = require("vtkmodules.vtkCommonDataModel", extra="pocket")
        to_vtk = require("vtkmodules.util.numpy_support", extra="pocket").numpy_to_vtk
        pixels = read_texture(path)
        image = data.vtkImageData()
        image.SetDimensions(pixels.shape[1], pixels.shape[0], 1)
        image.GetPointData().SetScalars(to_vtk(pixels.reshape(-1, 4), deep=True))
        texture = self._core.vtkTexture()
        texture.SetInputData(image)
        texture.InterpolateOn()
        texture.MipmapOn()
        texture.RepeatOn()
        return texture

    def _aim(self, view: Camera, centre: np.ndarray, radius: float) -> None:
        a, e, d = np.radians(view.azimuth), np.radians(view.elevation), view.distance * radius
        camera = self._renderer.GetActiveCamera()
        camera.SetFocalPoint(*centre)
        camera.SetPosition(*(centre + d * np.array([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)])))
        camera.SetViewUp(0, 1, 0)
        camera.SetViewAngle(np.degrees(view.fov))
        camera.SetClippingRange(max(d - 1.1 * radius, 0.02 * d), d + 1.1 * radius)

    def _light(self, actors: list[Any], rng: np.random.Generator) -> None:
        """A key light from above and somewhere in front of the camera, a weak fill, and light from everywhere."""
        self._renderer.RemoveAllLights()
        ambient = rng.uniform(0.35, 0.6)
        for strength, spread in ((rng.uniform(0.55, 0.95), 80), (rng.uniform(0.1, 0.3), 120)):
            light = self._core.vtkLight()
            light.SetLightTypeToCameraLight()
            a, e = np.radians(rng.uniform(-spread, spread)), np.radians(rng.uniform(5, 75))
            light.SetPosition(np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a))
            light.SetFocalPoint(0, 0, 0)
            light.SetColor(*rng.uniform(0.88, 1.0, 3))
            light.SetIntensity(strength)
            self._renderer.AddLight(light)
        for actor in actors:
            actor.GetProperty().SetAmbient(ambient)
            actor.GetProperty().SetDiffuse(0.85)

    def _picture(self) -> np.ndarray:
        """The window as (S, S, 4) uint8: premultiplied by VTK's blending, averaged, then divided by alpha."""
        self._window.Render()
        core = require("vtkmodules.vtkCommonCore", extra="pocket")
        to_numpy = require("vtkmodules.util.numpy_support", extra="pocket").vtk_to_numpy
        buffer, full = core.vtkUnsignedCharArray(), self.side * SUPER
        self._window.GetRGBACharPixelData(0, 0, full - 1, full - 1, 0, buffer)
        pixels = to_numpy(buffer).reshape(self.side, SUPER, self.side, SUPER, 4).astype(np.float32).mean((1, 3))[::-1]
        colour = pixels[..., :3] * 255 / np.maximum(pixels[..., 3:], 1)
        return np.concatenate([np.clip(colour, 0, 255), pixels[..., 3:]], -1).round().astype(np.uint8)

    def _depth(self, actors: list[Any], radius: float) -> np.ndarray:
        """Drawn once more with everything opaque, since glass leaves no trace in the depth buffer."""
        opacities = [actor.GetProperty().GetOpacity() for actor in actors]
        for actor in actors:
            actor.GetProperty().SetOpacity(1.0)
        self._window.Render()
        for actor, opacity in zip(actors, opacities):
            actor.GetProperty().SetOpacity(opacity)
        core = require("vtkmodules.vtkCommonCore", extra="pocket")
        to_numpy = require("vtkmodules.util.numpy_support", extra="pocket").vtk_to_numpy
        buffer, full = core.vtkFloatArray(), self.side * SUPER
        self._window.GetZbufferData(0, 0, full - 1, full - 1, buffer)
        z = to_numpy(buffer).reshape(full, full)[::-1][::SUPER, ::SUPER].astype(np.float64)
        near, far = self._renderer.GetActiveCamera().GetClippingRange()
        distance = near * far / (far - z * (far - near))
        return np.where(z < 1, np.clip(distance / radius * 1000, 1, 65535), 0).astype(np.uint16)


def _polydata(part: Part) -> Any:
    """Points, triangles, texture coordinates and smooth normals of a part."""
    model, core = (
        require("vtkmodules.vtkCommonDataModel", extra="pocket"),
        require("vtkmodules.vtkCommonCore", extra="pocket"),
    )
    filters, support = (
        require("vtkmodules.vtkFiltersCore", extra="pocket"),
        require("vtkmodules.util.numpy_support", extra="pocket"),
    )
    points, cells, data = core.vtkPoints(), model.vtkCellArray(), model.vtkPolyData()
    points.SetData(support.numpy_to_vtk(part.points, deep=True))
    offsets = np.arange(0, 3 * len(part.triangles) + 1, 3, dtype=np.int64)
    cells.SetData(
        support.numpy_to_vtkIdTypeArray(offsets, deep=True),
        support.numpy_to_vtkIdTypeArray(np.ascontiguousarray(part.triangles.ravel()), deep=True),
    )
    data.SetPoints(points)
    data.SetPolys(cells)
    if part.uv is not None:
        data.GetPointData().SetTCoords(support.numpy_to_vtk(part.uv, deep=True))
    normals = filters.vtkPolyDataNormals()
    normals.SetInputData(data)
    normals.SetFeatureAngle(FEATURE_ANGLE)
    normals.SplittingOn()
    normals.ConsistencyOn()
    normals.Update()
    return normals.GetOutput()
