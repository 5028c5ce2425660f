"""Picture corruptions: the published constants, each kind's known statistics, and the units."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import oracles_corrupt as slow
import pytest
import torch
from PIL import Image

from tamis.corrupt import CORRUPTIONS, fifteen_corruptions, injector, six_kinds
from tamis.corrupt.filters import box_matrix, gaussian, lens, motion, zoomed
from tamis.corrupt.pictures import Draw
from tamis.corrupt.units import units
from tamis.data import load
from tamis.data.dataset import normalise
from tamis.types import Arrays, Kind, TamisError

SIZES = [(1, 8, 8), (3, 9, 12)]


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unit(n: int = 30, shape: tuple[int, ...] = (3, 12, 12), seed: int = 99) -> torch.Tensor:
    """Pictures in [0, 1], of which one is black and one is white, so that the units are read as they are."""
    u = torch.rand(n, *shape, generator=stream(seed))
    u[0], u[1] = 0, 1
    return u


def corrupted(name: str, severity: int, u: torch.Tensor) -> torch.Tensor:
    """All pictures of ``u`` after the kind, in their own order."""
    data = Arrays(u, torch.zeros(len(u), dtype=torch.int64), 2)
    return injector(f"{name}(severity={severity})", 1.0)(data, stream())[0].x


def flat(value: float, n: int = 40, shape: tuple[int, ...] = (3, 16, 16)) -> torch.Tensor:
    u = torch.full((n, *shape), value)
    u[0], u[1] = 0, 1
    return u


def test_the_fifteen_kinds_are_there() -> None:
    assert len(CORRUPTIONS) == 15
    assert [name for name, make in CORRUPTIONS.items() if make.__name__ != name] == []


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_kind_holds_at_every_severity_and_size(name: str, severity: int, shape: tuple[int, ...]) -> None:
    u = unit(12, shape)
    v = corrupted(name, severity, u)
    assert v.shape == u.shape
    assert bool(torch.isfinite(v).all())
    assert float(v.min()) >= 0
    assert float(v.max()) <= 1
    moved = (v - u).abs().flatten(1).amax(1)
    too_small = name == "zoom_blur" and severity == 1 and shape[1:] == (8, 8)  # half a pixel more: it says so
    assert (float(moved[2:].max()) > 0.5 / 255) != too_small
    assert not ((moved > 0) & (moved <= 0.5 / 255)).any(), "what hardly moves comes back as it was"


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"elastic_transform", "frost", "glass_blur", "snow"}))
def test_a_higher_severity_moves_pictures_further(name: str) -> None:
    x = torch.linspace(0, 6, 16)
    u = (0.5 + 0.5 * torch.sin(x[:, None] * x + torch.arange(60.0).view(-1, 1, 1, 1))).expand(60, 3, 16, 16).clone()
    u[0], u[1] = 0, 1
    size = [float((corrupted(name, s, u) - u).abs().mean()) for s in (1, 2, 3, 4, 5)]
    assert size == sorted(size)
    assert size[4] > 1.2 * size[0]


@pytest.mark.parametrize(("severity", "std"), [*enumerate([0.04, 0.06, 0.08, 0.09, 0.10], 1)])
def test_gaussian_noise_has_its_deviation(severity: int, std: float) -> None:
    noise = (corrupted("gaussian_noise", severity, flat(0.5)) - 0.5)[2:]
    assert abs(float(noise.std()) / std - 1) < 5 / math.sqrt(2 * noise.numel())
    assert abs(float(noise.mean())) < 5 * std / math.sqrt(noise.numel())
    assert abs(float((noise.abs() < std).double().mean()) - 0.6827) < 0.015
    together = torch.corrcoef(noise.transpose(0, 1).flatten(1))[0, 1]
    assert abs(float(together)) < 5 / math.sqrt(noise[:, 0].numel()), "each channel on its own"


@pytest.mark.parametrize(("severity", "quanta"), [*enumerate([500, 250, 100, 75, 50], 1)])
def test_shot_noise_is_poisson(severity: int, quanta: int) -> None:
    v = corrupted("shot_noise", severity, flat(0.25))[2:]
    assert abs(float(v.mean()) - 0.25) < 5 * math.sqrt(0.25 / quanta / v.numel())
    assert abs(float(v.var()) / (0.25 / quanta) - 1) < 0.05
    assert (v * quanta - (v * quanta).round()).abs().max() < 1e-3, "whole quanta"


@pytest.mark.parametrize(("severity", "share"), [*enumerate([0.01, 0.02, 0.03, 0.05, 0.07], 1)])
def test_impulse_noise_loses_its_share_half_to_each_side(severity: int, share: float) -> None:
    v = corrupted("impulse_noise", severity, flat(0.5, 200))[2:]
    n = v.numel()
    for end in (0.0, 1.0):
        assert abs(float((v == end).double().mean()) - share / 2) < 5 * math.sqrt(share / 2 / n)
    assert set(v.unique().tolist()) == {0.0, 0.5, 1.0}
    assert float(((v != 0.5).any(1)).double().mean()) > 2 * share, "each channel on its own"


def drawn(u: torch.Tensor) -> tuple[torch.Tensor, Draw]:
    """The order in which all of ``u`` are corrupted, and the numbers that are drawn for them."""
    g = stream()
    order = torch.randperm(len(u), generator=g)
    return order, Draw(len(u), stream(int(torch.randint(2**62, (), generator=g))))


LENSES = [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)]
MOTIONS = [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)]
GLASSES = [(0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)]  # sigma, turns; one pixel each


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_blurs_have_the_published_constants(severity: int) -> None:
    u = unit(6, (3, 10, 12))
    assert torch.allclose(corrupted("defocus_blur", severity, u)[2:], lens(u, *LENSES[severity - 1])[2:], atol=1e-6)
    order, draw = drawn(u)
    angle = draw.uniform(-45, 45)
    moving = motion(u[order], *MOTIONS[severity - 1], angle)
    assert torch.allclose(corrupted("motion_blur", severity, u)[order], moving, atol=1e-6)
    assert -45 <= float(angle.min()) < 0 < float(angle.max()) < 45
    sigma, turns = GLASSES[severity - 1]
    order, draw = drawn(u)
    move = (draw.uniform(0, 2, turns, 8 * 10, 2).floor() - 1).int()
    blurred = gaussian(u[order], sigma).flatten(2)
    frosted = torch.stack([x[:, slow.swapped(m.tolist(), 10, 12, 1)] for x, m in zip(blurred, move, strict=True)])
    frosted = gaussian(frosted.view_as(u), sigma)
    assert torch.allclose(corrupted("glass_blur", severity, u)[order], frosted, atol=1e-6)


@pytest.mark.parametrize(("severity", "last"), [*enumerate([1.06, 1.11, 1.15, 1.20, 1.25], 1)])
def test_zoom_blur_is_the_mean_of_its_zooms(severity: int, last: float) -> None:
    u = unit(5, (3, 16, 16))
    factors = np.arange(1, last + 0.005, 0.01)
    mean = (u + sum(zoomed(u, float(f)) for f in factors)) / (len(factors) + 1)
    assert torch.allclose(corrupted("zoom_blur", severity, u)[3], mean[3], atol=1e-5)


def test_glass_moves_pixels_a_little_and_loses_none() -> None:
    u = unit(20, (3, 12, 12))
    v = corrupted("glass_blur", 1, u)  # its blur is too narrow to do anything
    assert torch.allclose(v.flatten(2).sort(2).values, u.flatten(2).sort(2).values)
    stay = float((v == u).all(1)[2:, 2:-1, 2:-1].double().mean())
    assert 0.05 < stay < 0.5
    strong = corrupted("glass_blur", 5, u)
    assert float(strong[2:].std()) < 0.9 * float(u[2:].std()), "and at 5 it blurs"


@pytest.mark.parametrize(("severity", "thickness"), [*enumerate([0.2, 0.5, 0.75, 1.0, 1.5], 1)])
def test_fog_lies_between_what_its_thickness_allows(severity: int, thickness: float) -> None:
    u = flat(0.5, 10)
    v = corrupted("fog", severity, u)[2:]
    shrink = 0.5 / (0.5 + thickness)
    assert torch.allclose(v.amin((1, 2, 3)), torch.tensor(0.5 * shrink), atol=1e-5)
    assert torch.allclose(v.amax((1, 2, 3)), torch.tensor((0.5 + thickness) * shrink), atol=1e-5)
    assert torch.equal(v[:, 0], v[:, 2]), "fog has no colour"
    assert not torch.equal(v[0], v[1]), "every picture has fog of its own"


@pytest.mark.parametrize(
    ("severity", "keep", "ice"), [(1, 1, 0.2), (2, 1, 0.3), (3, 0.9, 0.4), (4, 0.85, 0.4), (5, 0.75, 0.45)]
)
def test_frost_adds_ice_to_a_darker_picture(severity: int, keep: float, ice: float) -> None:
    value = 0.4
    crystals = (corrupted("frost", severity, flat(value, 20))[2:] - keep * value) / ice
    assert float(crystals.min()) > -1e-5
    assert float(crystals.max()) < 1 + 1e-5
    assert float(crystals[:, 2].max()) > 0.95, "blue reaches its top"
    assert bool((crystals[:, 0] <= crystals[:, 2] + 1e-5).all()), "and red is below it"
    assert 0.2 < float(crystals.mean()) < 0.9


def test_snow_falls_on_a_paler_picture_and_is_brighter_everywhere() -> None:
    u = flat(0.3, 200, (1, 16, 16))
    clear = 0.8 * u + 0.2 * (u * 1.5 + 0.5)
    v = corrupted("snow", 5, u)
    assert bool((v[2:] >= clear[2:] - 1e-5).all())
    flakes = v[2:] - clear[2:]
    unclipped = v[2:].flatten(1).amax(1) < 1
    assert torch.allclose(flakes[unclipped], flakes[unclipped].flip(2, 3), atol=1e-5), (
        "flakes lie twice, turned by 180°"
    )
    assert float(flakes.mean()) > 0.05
    one = corrupted("snow", 1, u)[2:] - (0.95 * u + 0.05 * (u * 1.5 + 0.5))[2:]
    assert float(one.mean()) < float(flakes.mean()), "and severity 5 has more of it"
    # P(flake) = P(N(.1, .2) >= .6) at zoom 1; motion spreads them and keeps their sum but at the border
    z = torch.distributions.Normal(0.1, 0.2)
    x = torch.linspace(0.6, 1.5, 20_001)
    mass = float((x.clamp(max=1) * z.log_prob(x).exp()).mean() * 0.9)
    assert abs(float(one.mean()) / (2 * mass) - 1) < 0.15


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 8)])
@pytest.mark.parametrize(("severity", "light"), [*enumerate([0.05, 0.1, 0.15, 0.2, 0.3], 1)])
def test_brightness_is_the_v_of_hsv(severity: int, light: float, shape: tuple[int, ...]) -> None:
    u = unit(4, shape)
    v = corrupted("brightness", severity, u)
    for i in (0, 3):
        for row in range(8):
            expected = slow.brighter(u[i, :, row, 3].tolist(), light)
            assert v[i, :, row, 3].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("severity", "factor"), [*enumerate([0.75, 0.5, 0.4, 0.3, 0.15], 1)])
def test_contrast_shrinks_about_the_mean_of_each_channel(severity: int, factor: float) -> None:
    u = unit(4)
    v = corrupted("contrast", severity, u)
    assert torch.allclose(v.mean((2, 3)), u.mean((2, 3)), atol=1e-5)
    assert torch.allclose(v[2:].std((2, 3)), factor * u[2:].std((2, 3)), atol=1e-5)


def test_rubber_keeps_a_flat_picture_flat_and_moves_a_ramp_by_pixels() -> None:
    still = corrupted("elastic_transform", 5, flat(0.5))
    assert torch.equal(still, flat(0.5)), "nothing to see: it comes back as it was, and is clean"
    ramp = torch.linspace(0, 1, 32).expand(40, 1, 32, 32).clone()
    moved = [float((corrupted("elastic_transform", s, ramp) - ramp).abs().mean()) * 31 for s in (1, 2, 3, 4, 5)]
    assert all(0.3 < pixels < 2.5 for pixels in moved)
    assert moved[0] > moved[4], "the first is the larger move of the whole"
    rough = [(corrupted("elastic_transform", s, ramp) - ramp).diff(n=2, dim=3).abs().mean() for s in (1, 5)]
    assert rough[1] > 3 * rough[0], "the last is the rougher"


@pytest.mark.parametrize(("severity", "share"), [*enumerate([0.95, 0.9, 0.85, 0.75, 0.65], 1)])
@pytest.mark.parametrize("size", [(8, 8), (28, 28), (9, 32)])
def test_pixelation_is_pillows(severity: int, share: float, size: tuple[int, int]) -> None:
    u = (unit(3, (1, *size)) * 255).round() / 255
    h, w = size
    picture = Image.fromarray((u[2, 0] * 255).byte().numpy())
    small = picture.resize((int(w * share), int(h * share)), Image.Resampling.BOX)
    expected = np.asarray(small.resize((w, h), Image.Resampling.BOX)) / 255
    assert np.abs(corrupted("pixelate", severity, u)[2, 0].numpy() - expected).max() < 2 / 255
    assert torch.allclose(box_matrix(h, share).sum(1), torch.ones(h))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("severity", "quality"), [*enumerate([80, 65, 58, 50, 40], 1)])
def test_jpeg_is_pillows(severity: int, quality: int, channels: int) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (16, 16, channels), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(levels.squeeze()).save(held, "JPEG", quality=quality)
    expected = np.asarray(Image.open(held)).reshape(levels.shape)
    u = unit(3, (channels, 16, 16))
    u[2] = torch.from_numpy(levels / 255).permute(2, 0, 1)
    v = corrupted("jpeg_compression", severity, u)[2].permute(1, 2, 0) * 255
    assert np.abs(v.numpy() - expected).max() < 0.01 or np.abs(v.numpy() - levels).max() <= 0.5


@pytest.mark.parametrize("name", ["contrast", "fog", "zoom_blur", "brightness"])
def test_what_is_normalised_is_corrupted_as_if_it_were_not(name: str) -> None:
    raw = Arrays(unit(50), torch.arange(50) % 2, 2)
    train, _ = normalise(raw, raw)
    mean, std = raw.x.mean((0, 2, 3), keepdim=True), raw.x.std((0, 2, 3), correction=0, keepdim=True)
    a, b = (injector(name, 0.5)(data, stream()) for data in (raw, train))
    assert torch.equal(a[1].kind, b[1].kind)
    assert torch.allclose(a[0].x, b[0].x * std + mean, atol=1e-4)
    assert torch.equal(b[0].x[b[1].kind == 0], train.x[b[1].kind == 0]), "and the clean are not touched by rounding"


def test_real_data_read_their_own_units() -> None:
    raw, train = (load("digits", normalised=flag).train for flag in (False, True))
    assert torch.allclose(units(train, "this").to_unit(train.x), raw.x, atol=1e-5)
    still = Arrays(torch.full((3, 1, 8, 8), 7.0), torch.zeros(3, dtype=torch.int64), 2)
    assert float(units(still, "this").to_unit(still.x).max()) == 0, "a channel that never varies is black"


def test_fifteen_corruptions_are_the_fifteen_in_turn() -> None:
    u = flat(0.5, 300, (3, 8, 8))
    u[2:] = torch.rand(3, 8, 8, generator=stream(2))
    data = Arrays(u, torch.zeros(300, dtype=torch.int64), 2)
    order = torch.randperm(300, generator=stream())
    after, truth = fifteen_corruptions(0.5, severity=3)(data, stream())
    assert set(order[:150].tolist()) >= set(truth.kind.nonzero()[:, 0].tolist())
    names = list(CORRUPTIONS)
    brightest = order[names.index("brightness") : 150 : 15]
    at = brightest[brightest > 1]
    assert len(at) >= 8
    assert torch.allclose(after.x[at].amax(1), (u[at].amax(1) + 0.15).clamp(max=1), atol=1e-4)
    dull = order[names.index("contrast") : 150 : 15]
    at = dull[dull > 1]
    assert torch.allclose(after.x[at].std((2, 3)), 0.4 * u[at].std((2, 3)), atol=1e-4)


def test_six_kinds_have_their_shares() -> None:
    g = stream(6)
    data = Arrays(torch.rand(2000, 1, 8, 8, generator=g), torch.randint(10, (2000,), generator=g), 10)
    after, truth = six_kinds()(data, stream())
    count = {kind: int(((truth.kind & int(kind)) != 0).sum()) for kind in Kind if kind}
    assert count == {
        Kind.MISLABELED: 233, Kind.CORRUPTED: 100, Kind.OUT_OF_DISTRIBUTION: 100, Kind.DUPLICATE: 100,
        Kind.AMBIGUOUS: 100, Kind.RARE: 60,
    }  # fmt: skip
    assert int((truth.kind == 0).sum()) == 1340
    assert truth.asked_rate == pytest.approx(0.33)
    shuffled = after.x.flatten(1).sort().values.sub(data.x.flatten(1).sort().values).abs().amax(1) < 1e-6
    assert int((shuffled & (truth.kind == int(Kind.CORRUPTED))).sum()) >= 50
    mild, same = six_kinds(severity=1)(data, stream())
    assert torch.equal(same.label, truth.label)
    milder = (mild.x != after.x).flatten(1).any(1)
    assert 40 <= int(milder.sum()) <= 50, "the fifteen kinds, and nothing else, follow the severity"
    assert injector("six_kinds(foreign='digits')", 0.33)(data, stream())[0].x.shape == data.x.shape


def test_mistakes_are_answered_in_one_sentence() -> None:
    small, two, table = unit(3, (1, 7, 9)), unit(3, (2, 8, 8)), torch.rand(3, 8)
    y = torch.zeros(3, dtype=torch.int64)
    mistakes: list[tuple[Callable[[], object], str]] = [
        *((lambda s=s: injector(f"fog(severity={s})", 0.1), "the severity is") for s in (0, 6, 2.0, True, "'x'")),
        (lambda: injector("fog(strength=3)", 0.1), "settings of .* cannot be read"),
        (lambda: injector("fog", 1.1), "rate is 1.1"),
        (lambda: fifteen_corruptions(0.1, 6), "the severity is 6"),
        *(
            (lambda x=x: injector("fog", 0.5)(Arrays(x, y, 2), stream()), "fog needs pictures .* 1 or 3 channels")
            for x in (small, two, table)
        ),
    ]
    for call, sentence in mistakes:
        with pytest.raises(TamisError, match=sentence):
            call()
