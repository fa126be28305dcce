"""Picture measures against values worked out by hand."""

import math

import numpy as np
import pytest
import torch

from gqn_rl import picture_metrics as metrics
from gqn_rl.writers.sheets import GAP_PX, NARROWEST_PX, TITLE_PX, tile, with_titles

SIZE = 11


def gaussian_window():
    """The 11×11 window, written out."""
    offsets = np.arange(SIZE) - 5
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    return weights / weights.sum()


def test_ssim_of_one_window_by_hand():
    """On 11×11 pictures there is one window: SSIM is the formula with its weighted moments, averaged over channels."""
    rng = np.random.default_rng(0)
    a, b, w = rng.random((3, SIZE, SIZE)), rng.random((3, SIZE, SIZE)), gaussian_window()
    expected = []
    for x, y in zip(a, b, strict=True):
        mx, my = (w * x).sum(), (w * y).sum()
        vx, vy, cov = (w * (x - mx) ** 2).sum(), (w * (y - my) ** 2).sum(), (w * (x - mx) * (y - my)).sum()
        top = (2 * mx * my + 0.01**2) * (2 * cov + 0.03**2)
        expected.append(top / ((mx**2 + my**2 + 0.01**2) * (vx + vy + 0.03**2)))
    given = metrics.ssim(torch.tensor(a)[None], torch.tensor(b)[None])
    assert given.shape == (1,) and float(given) == pytest.approx(np.mean(expected), abs=1e-9)


def test_ssim_of_equal_pictures_is_at_most_1_in_float32():
    """Rounding must not lead above the best value: equal pictures of 64 kinds, single precision."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(64, 3, 24, 24, generator=generator) * torch.linspace(0.01, 1, 64)[:, None, None, None]
    found = metrics.ssim(image, image)
    assert float(found.max()) <= 1.0 and float(found.min()) > 1 - 1e-4


def test_ssim_of_equal_and_flat_pictures():
    """Equal pictures have SSIM 1; flat ones of intensity 0 and 1 have C1 / (1 + C1)."""
    image = torch.rand(2, 3, 20, 24, dtype=torch.float64)
    torch.testing.assert_close(metrics.ssim(image, image), torch.ones(2, dtype=torch.float64))
    flat = torch.zeros(1, 3, 16, 16)
    assert float(metrics.ssim(flat, flat + 1)) == pytest.approx(1e-4 / (1 + 1e-4), rel=1e-3)


def test_likelihood_is_the_normal_density():
    """Excess over the floor plus the floor is -log N(x | mean, σ²) summed over the picture."""
    truth, prediction = torch.rand(3, 8, 8), torch.rand(3, 8, 8)
    expected = -torch.distributions.Normal(prediction, 0.7).log_prob(truth).sum()
    mse = metrics.mean_squared_error(prediction, truth)
    given = metrics.excess_nll(mse, 3 * 8 * 8) + metrics.nll_floor(3 * 8 * 8, 0.7)
    torch.testing.assert_close(given, expected)


def test_bits_per_dim_of_a_known_density():
    """A perfect prediction with σ = 1/√(2π) has density 1 everywhere: log₂ 255 bits, as bytes lie 1/255 apart."""
    sigma = 1 / math.sqrt(2 * math.pi)
    assert float(metrics.bits_per_dim(torch.tensor(0.0), 192, sigma)) == pytest.approx(math.log2(255))


def test_psnr():
    """An error of 0.1 everywhere is 20 dB."""
    mse = metrics.mean_squared_error(torch.full((2, 3, 4, 4), 0.6), torch.full((2, 3, 4, 4), 0.5))
    torch.testing.assert_close(metrics.psnr(mse), torch.full((2,), 20.0))


def test_tile_puts_rows_and_columns_in_order():
    """Picture (row, column) lies at its place, with white between neighbours and no white at the border."""
    images = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1) * np.ones((4, 5, 3), np.uint8)
    sheet = tile(images)
    assert sheet.shape == (2 * 4 + GAP_PX, 3 * 5 + 2 * GAP_PX, 3)
    step_y, step_x = 4 + GAP_PX, 5 + GAP_PX
    for row in range(2):
        for column in range(3):
            picture = sheet[row * step_y : row * step_y + 4, column * step_x : column * step_x + 5]
            assert (picture == images[row, column]).all()
    assert (sheet[4 : 4 + GAP_PX] == 255).all() and (sheet[:, 5 : 5 + GAP_PX] == 255).all()


def test_every_column_of_a_sheet_has_its_title_and_keeps_its_pictures():
    """Three columns of 5 pixels become at least as wide as a title each; below the titles the sheet is only larger."""
    sheet = np.random.default_rng(0).integers(0, 256, (8, 15, 3), dtype=np.uint8)
    page = with_titles(sheet, ["given view", "truth", "reconstruction"])
    zoom = page.shape[1] // 15
    assert page.shape == (8 * zoom + TITLE_PX, 15 * zoom, 3) and 15 * (zoom - 1) < 3 * NARROWEST_PX <= 15 * zoom
    assert (page[TITLE_PX::zoom, ::zoom] == sheet).all()
    ink = (page[:TITLE_PX] < 128).all(axis=-1)
    assert [ink[:, 5 * zoom * column : 5 * zoom * (column + 1)].any() for column in range(3)] == [True] * 3
    assert not ink[:, [5 * zoom, 10 * zoom]].any()
