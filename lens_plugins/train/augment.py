"""Training-time variation of each modality, on whole batches.

Every random number belongs to one sample: it comes from a generator seeded by (seed, epoch, index of the pair), so a
sample varies in the same way whatever batch, process or resumed run it appears in. (Audio mixing is the exception: its
partner is the next clip of the batch.) Everything after the draws is vectorised over the batch.

The kinds and ranges are those of the ViT-Lens recipe; point clouds get more, since the clouds that count come from
elsewhere: any heading, up axis and scale, scans with noise and missing sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from .._config import FrozenConfig, trait
from ..catalog import find_modality, resolve

__all__ = [
    "Augment",
    "Augmentation",
    "AudioAugment",
    "DepthAugment",
    "Draws",
    "EegAugment",
    "PointCloudAugment",
    "TactileAugment",
    "augmentation_for",
]


class Draws:
    """One random generator per sample of a batch.

    Args:
        seed: of the run.
        epoch: counted from 0.
        indices: of the batch's pairs in the training set.
    """

    def __init__(self, seed: int, epoch: int, indices: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(_mix(seed, epoch, index)) for index in indices]

    def __len__(self) -> int:
        return len(self._generators)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B, *shape) float32 in [low, high)."""
        drawn = torch.stack([torch.rand(shape, generator=g) for g in self._generators])
        return drawn * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) float32, standard normal."""
        return torch.stack([torch.randn(shape, generator=g) for g in self._generators])

    def choice(self, counts: Sequence[int]) -> list[int]:
        """One index below each of `counts` (B of them)."""
        return [int(torch.randint(n, (1,), generator=g)) for n, g in zip(counts, self._generators)]

    def pick(self, count: int, sizes: Sequence[int]) -> list[Tensor]:
        """For each sample `count` indices below its size: all different where the size allows, else with repeats."""
        return [torch.randperm(n, generator=g)[torch.arange(count) % n] for n, g in zip(sizes, self._generators)]


def _mix(*numbers: int) -> int:
    """Fold integers into 63 well-spread bits (the finaliser of SplitMix64, Steele et al. 2014)."""
    state = 0
    # Neighbouring seeds give like sequences in some generators; mixed ones have nothing in common.
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


Augmentation = Callable[[Tensor, Draws], Tensor]


@dataclass(frozen=True)
class Augment(FrozenConfig):
    """Base of the variations that a row of the catalogue names: an `Augmentation` with values."""

    @classmethod
    def for_settings(cls, settings: Any) -> Self:
        """The usual variation of what is read with these settings: fields of one name have one value."""
        shared = {f.name for f in fields(settings)} & {f.name for f in (fields(cls) if is_dataclass(cls) else ())}
        return cls(**{name: getattr(settings, name) for name in sorted(shared)})


@dataclass(frozen=True)
class PointCloudAugment(Augment):
    """Clouds from elsewhere: turned, tilted, stretched, other up axis, noisy, thin, with a side missing.

    Called with (B, P, 3), returns (B, points, 3), centred and scaled to the unit ball again. Give more points than
    `points`, so that what a cut leaves still fills the cloud. Clouds are taken to be y-up.
    """

    points: int = 1024
    tilt_degrees: float = 8.0  # standard deviation about both level axes
    scale: tuple[float, float] = (0.8, 1.25)  # per axis, on a logarithmic scale
    swap_up: float = 0.5  # share of clouds whose up axis becomes another one (z three times in four)
    jitter: float = 0.02  # largest standard deviation, in radii of the cloud
    fewest: int = 1000  # of distinct points that thinning leaves
    most: int = 8192
    half_space: float = 0.2  # share of clouds that lose one side
    largest_cut: float = 0.45  # of the points
    scan: float = 0.25  # share of clouds seen from one direction only
    scan_grid: int = 24  # cells of the depth test, each way
    outliers: float = 0.3  # share of clouds with stray points
    stray: float = 0.01  # largest share of such points

    @classmethod
    def for_settings(cls, settings: Any) -> Self:
        """Clouds of as many points as the lens reads."""
        return cls(points=settings.max_points)

    def __call__(self, clouds: Tensor, draws: Draws) -> Tensor:
        clouds = clouds * torch.exp(draws.uniform(1, 3, low=math.log(self.scale[0]), high=math.log(self.scale[1])))
        # Stretched before it is turned, so that shapes change along the object's own axes.
        clouds = clouds @ self._rotation(draws).transpose(1, 2)
        clouds = self._take(clouds, self._kept(clouds, draws), draws)  # (B, points, 3)
        clouds = clouds + draws.normal(self.points, 3) * draws.uniform(1, 1, high=self.jitter)
        return _to_unit_ball(self._stray(clouds, draws))

    def _rotation(self, draws: Draws) -> Tensor:
        """(B, 3, 3): heading about y, then a small tilt, then perhaps another up axis."""
        heading = _rotation_about(1, draws.uniform(high=2 * math.pi))
        tilt = draws.normal(2) * math.radians(self.tilt_degrees)
        turned = _rotation_about(0, tilt[:, 0]) @ _rotation_about(2, tilt[:, 1]) @ heading
        chance = draws.uniform()
        to_z = _rotation_about(0, torch.full_like(chance, math.pi / 2))
        to_x = _rotation_about(2, torch.full_like(chance, -math.pi / 2))
        axis = torch.eye(3).expand_as(to_z)
        axis = torch.where((chance < self.swap_up)[:, None, None], to_x, axis)
        axis = torch.where((chance < 0.75 * self.swap_up)[:, None, None], to_z, axis)
        return axis @ turned

    def _kept(self, clouds: Tensor, draws: Draws) -> Tensor:
        """(B, P) bool: the points that a cut or a scan leaves."""
        toward = F.normalize(draws.normal(3), dim=-1)
        along = (clouds @ toward[:, :, None]).squeeze(-1)  # (B, P), large on the side that is cut or scanned
        rank = along.argsort(dim=1, descending=True).argsort(dim=1)
        cut = rank >= draws.uniform(1, high=self.largest_cut) * clouds.shape[1]
        seen = _visible(clouds, toward, along, self.scan_grid)
        chance = draws.uniform(1)
        kept = torch.where(chance < self.half_space, cut, torch.ones_like(cut))
        scanned = (chance >= self.half_space) & (chance < self.half_space + self.scan)
        return torch.where(scanned, seen, kept)

    def _take(self, clouds: Tensor, kept: Tensor, draws: Draws) -> Tensor:
        """Thin the kept points to a random number and fill up to `points` by repeating them."""
        # Points are in random order already, so the first ones are a random choice.
        order = kept.logical_not().to(torch.uint8).argsort(dim=1, stable=True)  # kept ones first, in their random order
        few = draws.uniform(low=self.fewest, high=self.most + 1).long()
        count = kept.sum(dim=1).minimum(few).clamp(min=1)
        index = torch.arange(self.points) % count[:, None]  # (B, points)
        chosen = order.gather(1, index)
        return clouds.gather(1, chosen[..., None].expand(-1, -1, 3))

    def _stray(self, clouds: Tensor, draws: Draws) -> Tensor:
        most = math.ceil(self.stray * self.points)
        places = draws.uniform(most, 3, low=-1.0, high=1.0)
        share = torch.where(draws.uniform(1) < self.outliers, draws.uniform(1), 0.0)
        replaced = torch.arange(most) < (share * most).round()  # (B, most); points are in random order already
        head = torch.where(replaced[..., None], places, clouds[:, :most])
        return torch.cat([head, clouds[:, most:]], dim=1)


def _rotation_about(axis: int, angles: Tensor) -> Tensor:
    """(B,) angles in radians -> (B, 3, 3) right-handed rotations about one of the three axes."""
    rotation = torch.eye(3).repeat(len(angles), 1, 1)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rotation[:, first, first] = rotation[:, second, second] = angles.cos()
    rotation[:, second, first] = angles.sin()
    rotation[:, first, second] = -angles.sin()
    return rotation


def _visible(clouds: Tensor, toward: Tensor, along: Tensor, grid: int) -> Tensor:
    """(B, P) bool: points that nothing hides from a scanner far away in the direction `toward` (B, 3).

    A depth test on a coarse grid: of the points in a cell, those within 0.15 radii of the nearest are seen.
    """
    helper = torch.eye(3)[toward.abs().argmin(dim=1)]
    right = F.normalize(torch.linalg.cross(toward, helper), dim=-1)
    axes = torch.stack([right, torch.linalg.cross(toward, right)], dim=-1)  # (B, 3, 2)
    plane = clouds @ axes
    radius = plane.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-6)
    cell = ((plane / radius + 1) / 2 * grid).long().clamp(0, grid - 1)
    cell = cell[..., 0] * grid + cell[..., 1]  # (B, P)
    nearest = along.new_full((len(clouds), grid * grid), -torch.inf).scatter_reduce(1, cell, along, "amax")
    return along >= nearest.gather(1, cell) - 0.15 * radius[:, :, 0]


def _to_unit_ball(clouds: Tensor) -> Tensor:
    clouds = clouds - clouds.mean(dim=1, keepdim=True)
    return clouds / clouds.norm(dim=-1).amax(dim=1)[:, None, None].clamp(min=1e-6)


@dataclass(frozen=True)
class AudioAugment(Augment):
    """Spectrograms (B, T, F): masks, a quiet second clip, noise, a roll in time; more where asked.

    The defaults are the recipe of the Audio Spectrogram Transformer (Gong et al. 2021), but that the mixed clip stays
    the quieter one, because the anchor is the louder one's. `mean` and `std` undo the normalisation, so that powers
    add. What comes after them is off unless given; it is for clips that fill their frames, since it would change
    padding too.
    """

    frequency_mask: int = 12  # largest width, bins
    time_mask: int = 48  # largest width, frames
    mixup: float = 0.5  # share of clips with another one behind them
    loudest_partner: float = 0.4  # its largest share of the power
    noise: float = 0.1
    roll: int = 10  # frames, either way
    mean: float = -4.2677393
    std: float = 4.5689974
    gain: tuple[float, float] = (0.0, 0.0)  # decibels, from and to
    tone: float = 0.0  # standard deviation of a smooth change of the spectrum, decibels
    dull: float = 0.0  # share of clips that lose what is above some frequency
    hiss: float = 0.0  # share of clips with steady noise under them
    stretch: float = 0.0  # largest change of the pace, as a share, either way; the pitch stays
    pitch: float = 0.0  # largest shift of the spectrum, bins, either way
    pieces: float = 0.0  # share of clips of which a piece is heard again and again, as short recordings are
    shortest_piece: int = 24  # frames

    def __call__(self, clips: Tensor, draws: Draws) -> Tensor:
        clips = self._cut(self._mixed(clips, draws), draws)
        clips = self._coloured(self._warped(clips, draws), draws)
        clips = self._masked(clips, 2, self.frequency_mask, draws)
        clips = self._masked(clips, 1, self.time_mask, draws)
        frames = clips.shape[1]
        clips = clips + draws.uniform(*clips.shape[1:]) * draws.uniform(1, 1, high=self.noise)
        shift = draws.uniform(1, low=-self.roll, high=self.roll + 1).floor().long()
        index = (torch.arange(frames) - shift) % frames  # (B, T)
        return _frames_at(clips, index)

    def _cut(self, clips: Tensor, draws: Draws) -> Tensor:
        """A piece of some clips, repeated until it fills them."""
        if not self.pieces:
            return clips
        frames = clips.shape[1]
        shortest = min(self.shortest_piece, frames)
        length = draws.uniform(1, low=shortest, high=frames + 1).floor().clamp(max=frames)  # (B, 1)
        start = (draws.uniform(1) * (frames - length + 1)).floor()
        places = (start + torch.arange(frames) % length).long()  # (B, T)
        return torch.where(draws.uniform(1, 1) < self.pieces, _frames_at(clips, places), clips)

    def _warped(self, clips: Tensor, draws: Draws) -> Tensor:
        """Slower or faster, then higher or lower. A faster clip begins again at its end."""
        frames, bins = clips.shape[1:]
        if self.stretch:
            pace = draws.uniform(1, low=1 - self.stretch, high=1 + self.stretch)
            clips = _read_at(clips, torch.arange(frames) * pace % (frames - 1))
        if self.pitch:
            shift = draws.uniform(1, low=-self.pitch, high=self.pitch)
            place = (torch.arange(bins) - shift).clamp(0, bins - 1)
            clips = _read_at(clips.transpose(1, 2), place).transpose(1, 2)
        return clips

    def _coloured(self, clips: Tensor, draws: Draws) -> Tensor:
        """Another loudness, microphone and room: what adds to log power, then noise of one colour."""
        if not (self.tone or self.dull or self.hiss or any(self.gain)):
            return clips
        bins = clips.shape[2]
        power = clips * self.std + self.mean + draws.uniform(1, 1, low=self.gain[0], high=self.gain[1]) * _DECIBEL
        knots = draws.normal(1, 6) * self.tone * _DECIBEL
        power = power + F.interpolate(knots, size=bins, mode="linear", align_corners=True)
        edge = torch.where(draws.uniform(1, 1) < self.dull, draws.uniform(1, 1, low=bins / 3, high=bins), bins)
        power = power - (torch.arange(bins) - edge).clamp(min=0) * 2 * _DECIBEL
        if self.hiss:
            power = torch.where(draws.uniform(1, 1) < self.hiss, self._hissed(power, draws), power)
        return (power.clamp(min=_QUIETEST) - self.mean) / self.std

    def _hissed(self, power: Tensor, draws: Draws) -> Tensor:
        """Noise from white to brown, 5 to 30 dB below the clip's own power."""
        frames, bins = power.shape[1:]
        level = power.flatten(1).logsumexp(dim=1)[:, None, None] - math.log(frames * bins)
        level = level - draws.uniform(1, 1, low=5.0, high=30.0) * _DECIBEL
        slope = draws.uniform(1, 1, high=20.0) * _DECIBEL * (0.5 - torch.arange(bins) / bins)
        ripple = (-draws.uniform(frames, bins, low=1e-4).log()).log()  # the power of noise is exponential
        return torch.logaddexp(power, level + slope + ripple)

    def _mixed(self, clips: Tensor, draws: Draws) -> Tensor:
        share = draws.uniform(1, 1, high=self.loudest_partner)
        # Sounds add as powers, not as logarithms of them.
        power = clips * self.std + self.mean  # log power
        mixed = torch.logaddexp(power + torch.log1p(-share), power.roll(1, dims=0) + share.clamp(min=1e-6).log())
        return torch.where(draws.uniform(1, 1) < self.mixup, (mixed - self.mean) / self.std, clips)

    def _masked(self, clips: Tensor, axis: int, widest: int, draws: Draws) -> Tensor:
        size = clips.shape[axis]
        width = draws.uniform(1, high=min(widest, size) + 1).floor()
        start = (draws.uniform(1) * (size - width + 1)).floor()
        place = torch.arange(size)
        hidden = (place >= start) & (place < start + width)  # (B, size)
        hidden = hidden[:, None, :] if axis == 2 else hidden[:, :, None]
        return torch.where(hidden, -self.mean / self.std, clips)  # as padding looks: zero before normalising


_DECIBEL = math.log(10) / 10  # in log power
_QUIETEST = math.log(torch.finfo(torch.float32).eps)  # log power that no spectrogram is below


def _frames_at(clips: Tensor, index: Tensor) -> Tensor:
    """The frames (B, T, F) of clips at whole places (B, T)."""
    return clips.gather(1, index[..., None].expand_as(clips))


def _read_at(clips: Tensor, places: Tensor) -> Tensor:
    """Read (B, T, F) at places (B, T) between its frames."""
    below = places.floor().long()
    part = (places - below)[..., None]
    above = (below + 1).clamp(max=clips.shape[1] - 1)
    first, second = (_frames_at(clips, index) for index in (below, above))
    return first * (1 - part) + second * part


@dataclass(frozen=True)
class TactileAugment(Augment):
    """Frames (B, 3, S, S): a crop, flips both ways, any rotation, in one resampling."""

    smallest_crop: float = 0.6  # of the side
    degrees: float = 360.0

    def __call__(self, frames: Tensor, draws: Draws) -> Tensor:
        angle = draws.uniform(high=math.radians(self.degrees))
        side = draws.uniform(low=self.smallest_crop)
        flips = draws.uniform(2).lt(0.5).float() * 2 - 1  # (B, 2)
        centre = draws.uniform(2, low=-1.0) * (1 - side[:, None])
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
        return _resample(frames, turn * (side[:, None] * flips)[:, None, :], centre)


@dataclass(frozen=True)
class DepthAugment(Augment):
    """Disparity maps (B, 1, S, S): a crop, a flip, one erased rectangle; and, where asked, what a sensor does to them.

    A depth camera measures disparity, so its error is even there and grows with the square of the distance; it loses
    pixels where the depth jumps, and some anywhere. Maps of single objects may get a wall and a floor behind them.
    The lower end of disparity, where nothing was measured, is `missing`.
    """

    smallest_crop: float = 0.6  # of the side
    erase: float = 0.25  # share of maps
    largest_hole: float = 0.4  # of the side
    erased: float = 0.0  # value of the rectangle
    nearer: tuple[float, float] = (1.0, 1.0)  # factor on disparity, on a logarithmic scale
    wall: float = 0.0  # share of maps with a background where they had none
    noise: float = 0.0  # largest standard deviation, in the maps' units
    edge: float = 0.0  # largest share of pixels lost beside a jump
    jump: float = 0.15  # between neighbours, in the maps' units
    drop: float = 0.0  # largest share of pixels lost anywhere
    mean: float = 0.0418  # of the reader's normalisation
    std: float = 0.0295

    @property
    def missing(self) -> float:
        """What a pixel without a measurement holds: a disparity of 0.01 of 75."""
        return (0.01 / 75 - self.mean) / self.std

    def __call__(self, maps: Tensor, draws: Draws) -> Tensor:
        side = draws.uniform(low=self.smallest_crop)
        flip = draws.uniform().lt(0.5).float() * 2 - 1
        centre = draws.uniform(2, low=-1.0) * (1 - side[:, None])
        maps = _resample(maps, torch.diag_embed(torch.stack([side * flip, side], dim=1)), centre)
        if self.nearer != (1.0, 1.0) or self.wall:
            maps = self._placed(maps, draws)
        if self.noise or self.edge or self.drop:
            maps = self._sensed(maps, draws)
        return torch.where(self._hole(maps.shape[-2:], draws)[:, None], self.erased, maps)

    def _placed(self, maps: Tensor, draws: Draws) -> Tensor:
        """Nearer or further, and perhaps before a wall, on a floor."""
        empty = maps < self.missing + 0.02
        low, high = (math.log(bound) for bound in self.nearer)
        disparity = (maps * self.std + self.mean) * torch.exp(draws.uniform(1, 1, 1, low=low, high=high))
        thing = torch.where(empty, 0.0, disparity).sum(dim=(1, 2, 3)) / (~empty).sum(dim=(1, 2, 3)).clamp(min=1)
        behind = self._background(maps.shape[-2:], draws) * thing[:, None, None, None]
        walled = draws.uniform(1, 1, 1) < self.wall
        placed = (torch.where(empty & walled, behind, disparity) - self.mean) / self.std
        return torch.where(empty & ~walled, maps, placed).clamp(min=self.missing)

    def _background(self, size: Sequence[int], draws: Draws) -> Tensor:
        """(B, 1, H, W) disparity of a wall and a floor, that of the thing being 1. That of a plane is even: affine."""
        down, right = (torch.linspace(-1, 1, length) for length in size)
        wall = draws.uniform(1, 1, low=0.35, high=0.8) + draws.uniform(1, 1, low=-0.15, high=0.15) * right
        front, middle = draws.uniform(1, 1, low=0.9, high=1.2), draws.uniform(1, 1, low=0.3, high=0.7)
        floor = middle + (front - middle) * down[:, None]  # (B, H, 1)
        return torch.maximum(wall.expand(-1, *size), floor)[:, None]

    def _sensed(self, maps: Tensor, draws: Draws) -> Tensor:
        """Noise, and pixels lost beside jumps and anywhere."""
        height, width = maps.shape[-2:]
        # A pixel without a measurement stays without one: noise makes no depth.
        seen = maps >= self.missing + 0.02
        spread = F.max_pool2d(maps, 3, 1, 1) + F.max_pool2d(-maps, 3, 1, 1)  # largest less smallest of nine
        chance = draws.uniform(1, height, width)
        share = draws.uniform(1, 1, 1, high=self.drop) + draws.uniform(1, 1, 1, high=self.edge) * (spread > self.jump)
        noisy = maps + draws.normal(1, height, width) * draws.uniform(1, 1, 1, high=self.noise)
        return torch.where(seen & (chance >= share), noisy.clamp(min=self.missing), self.missing)

    def _hole(self, size: Sequence[int], draws: Draws) -> Tensor:
        """(B, H, W) bool."""
        erased = draws.uniform(1, 1) < self.erase
        inside = []
        for length in size:
            extent = draws.uniform(1, low=0.05, high=self.largest_hole) * length
            start = draws.uniform(1) * (length - extent)
            place = torch.arange(length)
            inside.append((place >= start) & (place < start + extent))  # (B, length)
        return erased & inside[0][:, :, None] & inside[1][:, None, :]


def _resample(pictures: Tensor, matrix: Tensor, centre: Tensor) -> Tensor:
    """Read (B, C, H, W) through affine maps: matrix (B, 2, 2) and centre (B, 2), x first, in [-1, 1]."""
    grid = F.affine_grid(torch.cat([matrix, centre[..., None]], dim=-1), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


@dataclass(frozen=True)
class EegAugment(Augment):
    """Recordings (B, C, T): noise, silent channels, a shift in time."""

    noise: float = 0.1  # largest standard deviation, in those of the recording
    drop_channels: float = 0.1  # largest share
    shift: int = 16  # steps, either way

    def __call__(self, recordings: Tensor, draws: Draws) -> Tensor:
        channels, steps = recordings.shape[1:]
        # In proportion, since recordings differ in scale.
        spread = recordings.std(dim=(1, 2), keepdim=True)
        recordings = recordings + draws.normal(channels, steps) * draws.uniform(1, 1, high=self.noise) * spread
        silent = draws.uniform(channels, 1) < draws.uniform(1, 1, high=self.drop_channels)
        recordings = recordings.masked_fill(silent, 0.0)
        shift = draws.uniform(1, low=-self.shift, high=self.shift + 1).floor().long()
        index = (torch.arange(steps) - shift).clamp(0, steps - 1)  # (B, T); the border sample is repeated
        return recordings.gather(2, index[:, None, :].expand_as(recordings))


def augmentation_for(modality: str, settings: Any) -> Augmentation | None:
    """The usual variation of a modality, or None where its row names none.

    Args:
        modality: its name.
        settings: that its inputs are read with.
    """
    named = find_modality(modality).augment
    return None if named is None else trait(resolve(named), "for_settings", Augment)(settings)
