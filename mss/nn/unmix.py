"""The network of one source in Open-Unmix and X-UMX, in the parts that the two join differently.

Its state-dict names are those of the published Open-Unmix checkpoints.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TargetNetwork(nn.Module):
    """Magnitudes of a mixture to a mask for one source: encode, recur over frames, decode.

    Args:
        channels: audio channels.
        bins: F.
        bins_in: the lowest bins, which the network looks at.
        hidden: features of an encoded frame and of the recurrent layers.
        layers: stacked LSTM layers.
        unidirectional: causal layers of full width instead of two directions of half of it.
        dropout: between the LSTM layers.
        initial_mask: what training starts from. (The references start from 1, the whole mixture,
            and spend their first hundreds of updates on turning that down.)
    """

    def __init__(
        self,
        channels: int,
        bins: int,
        bins_in: int,
        *,
        hidden: int,
        layers: int,
        unidirectional: bool,
        dropout: float,
        initial_mask: float,
    ) -> None:
        super().__init__()
        self.bins_in = bins_in
        # x -> (x + input_mean) * input_scale, per bin; see set_statistics
        self.input_mean = nn.Parameter(torch.zeros(bins_in))
        self.input_scale = nn.Parameter(torch.ones(bins_in))
        self.fc1 = nn.Linear(channels * bins_in, hidden, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.lstm = nn.LSTM(
            hidden,
            hidden if unidirectional else hidden // 2,
            layers,
            batch_first=True,
            bidirectional=not unidirectional,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.fc2 = nn.Linear(2 * hidden, hidden, bias=False)
        self.bn2 = nn.BatchNorm1d(hidden)
        self.fc3 = nn.Linear(hidden, channels * bins, bias=False)
        self.bn3 = nn.BatchNorm1d(channels * bins)
        self.output_scale = nn.Parameter(torch.ones(bins))
        self.output_mean = nn.Parameter(torch.full((bins,), initial_mask))

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, scale: Tensor) -> None:
        """Start from a data set's mean and standard deviation of each bin's magnitude, [F]."""
        self.input_mean.copy_(-mean[: self.bins_in])
        self.input_scale.copy_(1 / scale[: self.bins_in])

    def encode(self, magnitude: Tensor) -> Tensor:
        """Map magnitudes [B, N, C * bins_in] to features [B, N, hidden] in (-1, 1)."""
        items, frames, width = magnitude.shape
        channels = width // self.bins_in
        # fc1((x + mean) * scale), with the scaling moved from the frames to the fewer weights
        weight = self.fc1.weight * self.input_scale.repeat(channels)
        x = F.linear(magnitude.flatten(0, 1), weight, weight @ self.input_mean.repeat(channels))
        return torch.tanh(self.bn1(x)).view(items, frames, -1)

    def recur(self, features: Tensor) -> Tensor:
        """Map features [B, N, hidden] to those of the recurrent layers, [B, N, hidden]."""
        y: Tensor = self.lstm(features)[0]
        return y

    def decode(self, features: Tensor) -> Tensor:
        """Map both features side by side, [B, N, 2 * hidden], to a mask [B, N, C, F] >= 0."""
        items, frames, _ = features.shape
        x = torch.relu(self.bn2(self.fc2(features.flatten(0, 1))))
        x = self.bn3(self.fc3(x)).view(items, frames, -1, len(self.output_scale))
        return torch.relu(torch.addcmul(self.output_mean, x, self.output_scale))

    def forward(self, magnitude: Tensor) -> Tensor:
        """Map magnitudes [B, N, C * bins_in] to a mask [B, N, C, F] >= 0."""
        x = self.encode(magnitude)
        return self.decode(torch.cat([x, self.recur(x)], dim=-1))
