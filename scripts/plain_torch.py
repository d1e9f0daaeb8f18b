"""The same network and training step in PyTorch, channels last, as a peer to measure against."""

import torch
from torch import nn
from torch.nn import functional


class UNet(nn.Module):
    """A U-Net of valid convolutions, [batch, channels, size, size] -> [batch, 2, output, output].

    References
    ----------
    Ronneberger, Fischer & Brox (2015), Figure 1.
    """

    def __init__(self, channels: int, depth: int, base: int) -> None:
        super().__init__()
        widths = [base * 2**i for i in range(depth + 1)]
        self.down = nn.ModuleList(
            _level(before, width) for before, width in zip([channels, *widths], widths, strict=False)
        )
        self.upsample = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[-2::-1])
        self.up = nn.ModuleList(_level(2 * w, w) for w in widths[-2::-1])
        self.parameters_map = nn.Conv2d(base, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mean and raw standard deviation."""
        skips = []
        for level in self.down:
            x = level(functional.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        skips.pop()
        for upsample, level, skip in zip(self.upsample, self.up, reversed(skips), strict=True):
            x = upsample(x)
            edge = (skip.shape[-1] - x.shape[-1]) // 2
            x = level(torch.cat([skip[..., edge:-edge, edge:-edge], x], 1))
        return self.parameters_map(x)


def _level(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU())


class Trainer:
    """Adam steps on batches of standardised maps and station lists.

    Parameters
    ----------
    precision : str
        ``float32``, or ``bfloat16`` for automatic mixed precision.
    """

    def __init__(self, channels: int, depth: int, base: int, precision: str = "float32") -> None:
        self.network = UNet(channels, depth, base).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-3, fused=True)
        self.mixed = precision == "bfloat16"

    def step(self, maps: torch.Tensor, stations: dict[str, torch.Tensor]) -> float:
        """One step: maps [batch, channels, size, size], stations as tfgmm's pipeline has them."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.mixed):
            parameters = self.network(maps)
        event = torch.arange(len(maps))[:, None]
        row, col = stations["pixels"].unbind(-1)
        at_station = parameters.float()[event, :, row, col]
        stddev = functional.softplus(at_station[..., 1]) + 0.05
        loss = functional.gaussian_nll_loss(
            at_station[..., 0], stations["ln_im"], stddev**2, full=True, reduction="none"
        )
        loss = (stations["weight"] * loss).sum() / len(maps)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()
