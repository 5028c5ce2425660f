"""What picture corruptions are made of: each filter against a slow twin, or against that of scipy."""

from __future__ import annotations

import math

import numpy as np
import oracles_corrupt as slow
import pytest
import torch
from scipy import ndimage

from tamis.corrupt.blurs import swapped
from tamis.corrupt.digital import affine, corners
from tamis.corrupt.filters import gaussian, lens, motion, sampled, zoomed
from tamis.corrupt.pictures import Draw
from tamis.corrupt.weather import plasma


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unit(n: int = 30, shape: tuple[int, ...] = (3, 12, 12), seed: int = 99) -> torch.Tensor:
    """Pictures in [0, 1], of which one is black and one is white, so that the units are read as they are."""
    u = torch.rand(n, *shape, generator=stream(seed))
    u[0], u[1] = 0, 1
    return u


@pytest.mark.parametrize(("radius", "alias"), [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)])
def test_the_lens_equals_its_slow_twin(radius: float, alias: float) -> None:
    u = unit(4, (2, 8, 10))
    fast = lens(u, radius, alias)
    for channel in (0, 1):
        assert torch.allclose(
            fast[3, channel], torch.tensor(slow.lens(u[3, channel].tolist(), radius, alias)), atol=1e-6
        )


@pytest.mark.parametrize("angle", [-135.0, -90.0, -45.0, -10.0, 0.0, 33.0])
@pytest.mark.parametrize(("radius", "sigma"), [(6, 1.0), (9, 2.5), (2.5, 2.0)])
def test_motion_equals_its_slow_twin(radius: float, sigma: float, angle: float) -> None:
    u = unit(4, (2, 8, 10))
    fast = motion(u, radius, sigma, torch.tensor([0.0, 10.0, 20.0, angle]))
    assert torch.allclose(fast[3, 1], torch.tensor(slow.motion(u[3, 1].tolist(), radius, sigma, angle)), atol=1e-6)


@pytest.mark.parametrize("factor", [1.01, 1.06, 1.2, 1.25, 1.75, 2.25])
@pytest.mark.parametrize("side", [8, 28, 32])
def test_zooming_is_scipys(factor: float, side: int) -> None:
    u = unit(4, (1, side, side))
    part = math.ceil(side / factor)
    top = (side - part) // 2
    large = ndimage.zoom(u[3, 0, top : top + part, top : top + part].numpy(), factor, order=1)
    trim = (large.shape[0] - side) // 2
    expected = large[trim : trim + side, trim : trim + side]
    assert np.allclose(zoomed(u, factor)[3, 0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("sigma", "mode", "truncate"), [(0.05, "nearest", 4.0), (0.4, "nearest", 4.0), (6.4, "reflect", 3.0)]
)
def test_gaussian_filters_are_scipys(sigma: float, mode: str, truncate: float) -> None:
    u = unit(3, (1, 9, 12))
    expected = ndimage.gaussian_filter(u[2, 0].numpy(), sigma, mode=mode, truncate=truncate)
    assert np.allclose(gaussian(u, sigma, mode, truncate)[2, 0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(("reach", "turns"), [(1, 1), (1, 2), (2, 1)])
def test_swaps_equal_their_slow_twin(reach: int, turns: int) -> None:
    h, w = 7, 9
    move = np.random.default_rng(0).integers(-reach, reach, (3, turns, (h - 2 * reach) * (w - 2 * reach), 2))
    fast = swapped(move, h, w, reach)
    for i in range(3):
        assert fast[i].tolist() == slow.swapped(move[i].tolist(), h, w, reach)


@pytest.mark.parametrize("decay", [1.75, 3.0])
def test_plasma_equals_its_slow_twin(decay: float) -> None:
    side, n = 16, 3
    fast = plasma(Draw(n, stream(4)), side - 3, side, decay)
    draw, noise, wibble, step = Draw(n, stream(4)), [], 100.0, side
    while step >= 2:
        reach, parts = wibble**2, side // step
        noise.append([draw.uniform(-reach, reach, parts, parts)[2].tolist() for _ in range(3)])
        step, wibble = step // 2, wibble / decay
    expected = torch.tensor(slow.plasma(noise, side))[: side - 3]
    assert torch.allclose(fast[2], expected, atol=1e-5)


@pytest.mark.parametrize(("edge", "mode"), [(True, "reflect"), (False, "mirror")])
def test_sampling_is_scipys(edge: bool, mode: str) -> None:
    u = unit(3, (2, 8, 10))
    row, column = torch.rand(2, 3, 8, 10, generator=stream(1)) * 30 - 11
    expected = ndimage.map_coordinates(
        u[2, 1].double().numpy(), [row[2].numpy(), column[2].numpy()], order=1, mode=mode
    )
    assert np.allclose(sampled(u, row, column, edge)[2, 1].numpy(), expected, atol=1e-5)


def test_the_affine_map_puts_its_points_where_they_were_moved() -> None:
    points = corners(9, 12)
    moves = torch.tensor([[[1.0, 2.0], [-1.0, 0.5], [0.0, -2.0]]])
    for point, move in zip(points, moves[0], strict=True):
        x, y = (point + move).tolist()
        row, column = affine(points, moves, torch.tensor([[y]]), torch.tensor([[x]]))
        assert (column.item(), row.item()) == pytest.approx(tuple(point.tolist()), abs=1e-4)
    assert points.tolist() == [[9.0, 7.0], [9.0, 1.0], [3.0, 1.0]]
