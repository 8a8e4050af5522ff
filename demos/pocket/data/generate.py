"""Named 3D objects out of Infinigen's factories: a surface cloud, views and depth maps for each.

    python generate.py OUT [--seeds 0 11] [--views 4] [--workers 2] [--minutes 60]

A script for an environment of its own (`ENVIRONMENT` below, Python 3.11; `build.make_environment` makes it).
At work it imports Blender (GPL) as a module; the library itself never does, and what Blender draws is free of that.
Resumable: an object whose folder holds object.json or failed.txt is passed over.

    OUT/<class>/<Factory>-<seed>/
      cloud.npy      (8192, 3) float16, even on the surface, mean 0, farthest point at 1, y up
      view<i>.webp   128 x 128 RGBA, transparent where there is no object
      depth<i>.png   128 x 128 uint16, distance to the camera's plane in thousandths of the object's radius, 0 = nothing
      object.json    name, factory, seed, triangles, radius, camera of each view
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import zlib
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["ENVIRONMENT", "FACTORIES", "Job", "jobs_for", "main", "run"]

ENVIRONMENT = (  # arguments of two calls of pip
    ("--no-deps", "bpy==4.2.0", "infinigen==1.15.5"),
    (
        "--only-binary", ":all:", "numpy<2", "gin_config", "scipy", "trimesh<3.23", "networkx", "shapely<=2.0.5",
        "geomdl", "rtree", "python-fcl", "opencv-python-headless<4.9", "imageio<2.32", "scikit-image<0.23",
        "scikit-learn<1.4", "pandas", "psutil", "tqdm", "matplotlib", "OpenEXR", "vnoise", "requests",
        "zstandard", "Pillow",
    ),
)  # fmt: skip
FACTORIES = {  # class: modules and factories below infinigen.assets.objects
    "chair": ("seating.chairs.chair:Chair", "seating.chairs.office_chair:OfficeChair"),
    "stool": ("seating.chairs.bar_chair:BarChair",),
    "armchair": ("seating.sofa:ArmChair",),
    "sofa": ("seating.sofa:Sofa",),
    "bed": ("seating.bed:Bed",),
    "mattress": ("seating.mattress:Mattress",),
    "table": ("tables.dining_table:TableDining", "tables.dining_table:SideTable", "tables.dining_table:CoffeeTable",
              "tables.cocktail_table:TableCocktail"),
    "desk": ("shelves.simple_desk:SimpleDesk",),
    "bookshelf": ("shelves.simple_bookcase:SimpleBookcase", "shelves.large_shelf:LargeShelf",
                  "shelves.cell_shelf:CellShelf"),
    "cabinet": ("shelves.single_cabinet:SingleCabinet", "shelves.cabinet:Cabinet"),
    "lamp": ("lamp.lamp:DeskLamp", "lamp.lamp:FloorLamp", "lamp.ceiling_classic_lamp:CeilingClassicLamp"),
    "monitor": ("appliances.tv:Monitor",),
    "television": ("appliances.tv:TV",),
    "oven": ("appliances.oven:Oven",),
    "refrigerator": ("appliances.beverage_fridge:BeverageFridge",),
    "dishwasher": ("appliances.dishwasher:Dishwasher",),
    "microwave": ("appliances.microwave:Microwave",),
    "sink": ("table_decorations.sink:Sink", "bathroom.bathroom_sink:StandingSink"),
    "faucet": ("table_decorations.sink:Tap",),
    "bathtub": ("bathroom.bathtub:Bathtub",),
    "toilet": ("bathroom.toilet:Toilet",),
    "bottle": ("tableware.bottle:Bottle",),
    "cup": ("tableware.cup:Cup",),
    "bowl": ("tableware.bowl:Bowl",),
    "plate": ("tableware.plate:Plate",),
    "pot": ("tableware.pot:Pot",),
    "pan": ("tableware.pan:Pan",),
    "vase": ("table_decorations.vase:Vase",),
    "wineglass": ("tableware.wineglass:Wineglass",),
    "jar": ("tableware.jar:Jar",),
    "fork": ("tableware.fork:Fork",),
    "spoon": ("tableware.spoon:Spoon",),
    "knife": ("tableware.knife:Knife",),
    "flower": ("grassland.flowerplant:FlowerPlant",),
    "plant": ("small_plants.snake_plant:SnakePlant",),
    "fish": ("creatures.fish:Fish",),
    "animal": ("creatures.herbivore:Herbivore", "creatures.carnivore:Carnivore"),
    **{fruit: (f"fruits.{fruit}:FruitFactory{fruit.capitalize()}",)
       for fruit in ("apple", "pineapple", "strawberry", "starfruit", "blackberry")},
}  # fmt: skip
POINTS, SIDE, SAMPLES = 8192, 128, 16
LIMIT_SECONDS, LIMIT_MB, BATCH = 60, 5000, 20  # an object slower or larger is given up; a process lives for one batch
LARGEST = 30.0  # metres; a few meshes have stray vertices kilometres away


@dataclass(frozen=True)
class Job:
    """One object to make."""

    name: str
    module: str
    factory: str
    seed: int

    def folder(self, out: Path) -> Path:
        return out / self.name / f"{self.factory}-{self.seed}"

    def settled(self, out: Path) -> bool:
        return any((self.folder(out) / name).exists() for name in ("object.json", "failed.txt"))

    @property
    def own_seed(self) -> int:
        """Differs by factory: materials follow the seed, and colour must not become a label."""
        return self.seed + 1000 * (zlib.crc32(self.factory.encode()) % 100_003)


def jobs_for(seeds: range) -> list[Job]:
    """Every factory with every seed, seed by seed, so that a stopped run has some of each."""
    rows = [(name, *entry.split(":")) for name, entries in FACTORIES.items() for entry in entries]
    full = [(name, module, f if f.startswith("FruitFactory") else f + "Factory") for name, module, f in rows]
    return [Job(*row, seed) for seed in seeds for row in full]


# --- in the worker: Blender


def tame_infinigen() -> None:
    """Leave out what asks the network at import or takes minutes and is not seen at 128 pixels."""
    import_module("infinigen.core.init").require_blender_addon = lambda *_, **__: True
    import_module("infinigen.core.tagging").tag_system.relabel_obj = lambda mesh, *_, **__: mesh
    import_module("infinigen.assets.scatters.clothes").cloth_sim = lambda *_, **__: None


def spawn(job: Job) -> set[Any]:
    """Make the object in an empty scene; returns its Blender objects."""
    import_module("infinigen.core.util.blender").clear_scene()
    fixed_seed = import_module("infinigen.core.util.math").FixedSeed
    factory = getattr(import_module(f"infinigen.assets.objects.{job.module}"), job.factory)
    furry = job.module.startswith("creatures.") and job.factory != "FishFactory"
    with fixed_seed(job.own_seed):
        maker = factory(job.own_seed, hair=False) if furry else factory(job.own_seed)
        detail = {"face_size": 0.02, "adaptive_resolution": False} if furry else {}
        made = maker.spawn_asset(job.own_seed, **detail)
    return {made, *made.children_recursive}


def triangles_of(objects: set[Any]) -> Any:
    """Corners (F, 3, 3) in world space, modifiers applied, instances realised."""
    import bpy
    import numpy as np

    found = []
    for item in bpy.context.evaluated_depsgraph_get().object_instances:
        owner = (item.parent if item.is_instance else item.object).original
        if owner not in objects or item.object.type != "MESH":
            continue
        mesh = item.object.to_mesh()
        mesh.calc_loop_triangles()
        points, faces = np.empty(3 * len(mesh.vertices), "f4"), np.empty(3 * len(mesh.loop_triangles), "i4")
        mesh.vertices.foreach_get("co", points)
        mesh.loop_triangles.foreach_get("vertices", faces)
        world = np.array(item.matrix_world, "f4")
        found.append((points.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3])[faces.reshape(-1, 3)])
        item.object.to_mesh_clear()
    corners = np.concatenate(found)
    extent = float(np.ptp(corners.reshape(-1, 3), axis=0).max())
    if not (np.isfinite(corners).all() and 0 < extent < LARGEST):
        raise ValueError(f"extent of {extent} m; usable are more than 0 and less than {LARGEST}")
    return corners


def cloud_of(corners: Any, rng: Any) -> Any:
    """(POINTS, 3) float16 even on the surface, mean 0, farthest at 1, from z up to y up."""
    import numpy as np

    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    picked = rng.choice(len(area), POINTS, p=area / area.sum())
    r, s = np.sqrt(rng.random((POINTS, 1))), rng.random((POINTS, 1))
    points = (1 - r) * a[picked] + r * (1 - s) * b[picked] + r * s * c[picked]
    points -= points.mean(0)
    points /= np.linalg.norm(points, axis=1).max()
    return np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=-1).astype("f2")


class Stage:
    """Camera, sun and sky around one object."""

    def __init__(self, objects: set[Any], corners: Any, rng: Any) -> None:
        import bpy
        import numpy as np

        flat = corners.reshape(-1, 3)
        low, high = flat.min(0), flat.max(0)
        self.centre, self.radius, self.rng = (low + high) / 2, float(np.linalg.norm(high - low)) / 2, rng
        self.scene = bpy.context.scene
        for other in self.scene.objects:
            other.hide_render = other.hide_render or other not in objects
        self.scene.world = bpy.data.worlds.new("sky")
        self.scene.world.use_nodes = True
        self.sky = self.scene.world.node_tree.nodes["Background"].inputs
        self.sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
        self.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        for item in (self.sun, self.camera):
            self.scene.collection.objects.link(item)
        self.scene.camera = self.camera
        self._settings()

    def _settings(self) -> None:
        render, cycles = self.scene.render, self.scene.cycles
        render.engine, cycles.device, cycles.samples, cycles.use_denoising, cycles.max_bounces = (
            "CYCLES",
            "CPU",
            SAMPLES,
            False,
            4,
        )
        render.resolution_x = render.resolution_y = SIDE
        render.resolution_percentage, render.film_transparent, render.use_persistent_data = 100, True, True
        render.threads_mode, render.threads = "FIXED", 1
        render.image_settings.file_format = "OPEN_EXR_MULTILAYER"
        self.scene.view_layers[0].use_pass_z = True

    def aim(self, azimuth: float) -> dict[str, float]:
        """Place camera and light at random around `azimuth` (degrees); returns the view's camera."""
        import numpy as np
        from mathutils import Vector

        rng = self.rng
        self.sky[0].default_value, self.sky[1].default_value = (*rng.uniform(0.8, 1, 3), 1), rng.uniform(0.4, 0.9)
        self.sun.data.energy, self.sun.data.angle = rng.uniform(1, 2.5), 0.1
        self.sun.rotation_euler = (rng.uniform(0.2, 1), 0, rng.uniform(0, 2 * np.pi))
        azimuth = (azimuth + rng.uniform(-30, 30)) % 360
        elevation, fov = rng.uniform(-5, 45), rng.uniform(0.5, 0.8)
        distance = self.radius / np.sin(fov / 2) * rng.uniform(0.8, 1.05)
        a, e = np.radians(azimuth), np.radians(elevation)
        place = self.centre + distance * np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
        lens = self.camera.data
        lens.angle, lens.clip_start, lens.clip_end = fov, distance * 0.01, distance * 10
        self.camera.location = place
        self.camera.rotation_euler = Vector(self.centre - place).to_track_quat("-Z", "Y").to_euler()
        values = {"azimuth": azimuth, "elevation": elevation, "fov": fov, "distance": distance / self.radius}
        return {name: round(float(value), 3) for name, value in values.items()}

    def shoot(self, scratch: Path) -> tuple[Any, Any]:
        """RGBA (SIDE, SIDE, 4) uint8, not premultiplied, and depth (SIDE, SIDE) uint16."""
        import bpy
        import Imath
        import numpy as np
        import OpenEXR

        self.scene.render.filepath = str(scratch)
        bpy.ops.render.render(write_still=True)
        file = OpenEXR.InputFile(str(scratch))
        full = {name.split(".", 1)[1]: name for name in file.header()["channels"]}

        def channel(name: str) -> Any:
            return np.frombuffer(file.channel(full[name], Imath.PixelType(Imath.PixelType.FLOAT)), "f4").reshape(
                SIDE, SIDE
            )

        alpha, z = np.clip(channel("Combined.A"), 0, 1), channel("Depth.Z")
        linear = np.stack([channel(f"Combined.{c}") for c in "RGB"], axis=-1) / np.maximum(alpha, 1e-3)[..., None]
        linear = np.clip(linear, 0, 1)
        srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
        scratch.unlink()
        picture = (np.concatenate([srgb, alpha[..., None]], axis=-1) * 255 + 0.5).astype("u1")
        seen = (alpha > 0.5) & (z < 100 * self.radius)
        return picture, np.where(seen, np.clip(z / self.radius * 1000, 0, 65535), 0).astype("u2")


def make(job: Job, out: Path, views: int) -> None:
    """Make one object and write its folder; object.json comes last."""
    import numpy as np
    from PIL import Image

    folder, rng = job.folder(out), np.random.default_rng(job.own_seed)
    objects = spawn(job)
    corners = triangles_of(objects)
    np.save(folder / "cloud.npy", cloud_of(corners, rng))
    stage, start, seen = Stage(objects, corners, rng), rng.uniform(0, 360), []
    for i in range(views):
        seen.append(stage.aim(start + 360 * i / views))
        picture, depth = stage.shoot(folder / "view.exr")
        Image.fromarray(picture, "RGBA").save(folder / f"view{i}.webp", quality=92)
        Image.fromarray(depth).save(folder / f"depth{i}.png")
    about = {"name": job.name, "factory": job.factory, "seed": job.seed, "triangles": len(corners)}
    (folder / "object.json").write_text(json.dumps({**about, "radius": round(stage.radius, 3), "views": seen}))


def work(jobs: list[Job], out: Path, views: int) -> None:
    """Make objects one after another; what goes wrong with one is written down and does not stop the rest."""
    import logging
    import warnings

    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    tame_infinigen()
    for job in jobs:
        job.folder(out).mkdir(parents=True, exist_ok=True)
        (out / f".current-{os.getpid()}").write_text(str(job.folder(out)))
        try:
            make(job, out, views)
        except Exception as error:  # noqa: BLE001 - a hundred factories, a hundred ways to fail
            (job.folder(out) / "failed.txt").write_text(repr(error)[:300])
    os._exit(0)  # Blender's own shutdown may hang


# --- in the parent


@dataclass
class Worker:
    """A running process, the jobs it was given, and since when it has been at its present one."""

    process: subprocess.Popen[bytes]
    jobs: list[Job]
    mark: Path
    current: str = ""
    since: float = field(default_factory=time.time)

    def look(self) -> None:
        """Note when it turns to another object."""
        now = self.mark.read_text() if self.mark.exists() else ""
        if now != self.current:
            self.current, self.since = now, time.time()

    def stuck(self) -> str | None:
        """Why it should be stopped, or None."""
        if time.time() - self.since > LIMIT_SECONDS:
            return f"stopped after {LIMIT_SECONDS} s"
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except OSError:  # it has just ended
            return None
        megabytes = pages * os.sysconf("SC_PAGE_SIZE") // 2**20
        return f"stopped at {megabytes} MB" if megabytes > LIMIT_MB else None


def start(jobs: list[Job], out: Path, views: int) -> Worker:
    """A process of its own for a batch: Blender grows with every object."""
    rows = json.dumps([[job.name, job.module, job.factory, job.seed] for job in jobs])
    command = [sys.executable, __file__, str(out), "--views", str(views), "--jobs", rows]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Worker(process, jobs, out / f".current-{process.pid}")


def finish(worker: Worker, out: Path, reason: str | None) -> list[Job]:
    """Clear up after a worker that ended or was stopped; returns its jobs that are still to do."""
    if reason:
        worker.process.kill()
        if worker.current:
            (Path(worker.current) / "failed.txt").write_text(reason)
    worker.process.wait()
    worker.mark.unlink(missing_ok=True)
    left = [job for job in worker.jobs if not job.settled(out)]
    if left and not reason and len(left) == len(worker.jobs):  # it died before its first object: once is enough
        left[0].folder(out).mkdir(parents=True, exist_ok=True)
        (left.pop(0).folder(out) / "failed.txt").write_text("the process ended")
    return left


def run(jobs: list[Job], out: Path, views: int, workers: int, minutes: float) -> list[Job]:
    """Make `jobs`, some at a time, until they are done or the time is up; returns those not tried."""
    todo, running, end = [job for job in jobs if not job.settled(out)], [], time.time() + 60 * minutes
    while (todo or running) and time.time() < end:
        while todo and len(running) < workers:
            running.append(start(todo[:BATCH], out, views))
            todo = todo[BATCH:]
        time.sleep(1)
        for worker in list(running):
            worker.look()
            reason = worker.stuck()
            if reason or worker.process.poll() is not None:
                running.remove(worker)
                todo = finish(worker, out, reason) + todo
    for worker in running:
        worker.process.kill()
        worker.process.wait()
        worker.mark.unlink(missing_ok=True)
        todo += [job for job in worker.jobs if not job.settled(out)]
    return todo


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", nargs=2, type=int, default=(0, 11), metavar=("FIRST", "END"))
    parser.add_argument("--names", nargs="*", help="only these classes")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--jobs", help=argparse.SUPPRESS)
    given = parser.parse_args()
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if given.jobs:
        work([Job(*row) for row in json.loads(given.jobs)], out, given.views)
    jobs = [job for job in jobs_for(range(*given.seeds)) if not given.names or job.name in given.names]
    left = run(jobs, out, given.views, given.workers, given.minutes)
    made, failed = len(list(out.glob("*/*/object.json"))), len(list(out.glob("*/*/failed.txt")))
    sys.stderr.write(f"{made} objects, {failed} failed, {len(left)} not tried\n")


if __name__ == "__main__":
    main()
