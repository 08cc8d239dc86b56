import pytest
import torch
from torch import Tensor

from mss.core.errors import ConfigError
from mss.infer.consistency import Consistent, Share
from mss.infer.plan import Plan
from mss.infer.streamer import Streamer

MIX = torch.randn(2, 2, 100, generator=torch.Generator().manual_seed(0))


def three(chunks: Tensor) -> Tensor:
    """Powers 1, 4 and 0."""
    return torch.stack([chunks, -2 * chunks, 0 * chunks], dim=1)


@pytest.mark.parametrize("share", ["equal", "power"])
def test_stems_add_up(share: Share) -> None:
    out = Consistent(three, share)(MIX)
    torch.testing.assert_close(out.sum(dim=1), MIX)
    # 2 x is missing
    gains = {"equal": (1 + 2 / 3, -2 + 2 / 3, 2 / 3), "power": (1 + 0.4, -2 + 1.6, 0.0)}[share]
    for source, gain in enumerate(gains):
        torch.testing.assert_close(out[:, source], gain * MIX)


def test_overlapping_chunks_add_up_too() -> None:
    def wobbly(chunks: Tensor) -> Tensor:
        return three(chunks) * torch.linspace(0.1, 1, chunks.shape[-1])

    streamer = Streamer(Consistent(wobbly), Plan(3, 2, 30, 11))
    out = torch.cat([streamer.feed(MIX[0]), streamer.flush()], dim=-1)
    torch.testing.assert_close(out.sum(dim=0), MIX[0], atol=2e-6, rtol=0)


def test_where_all_sources_are_silent_the_shares_are_equal() -> None:
    out = Consistent(lambda chunks: 0 * three(chunks), "power")(MIX)
    torch.testing.assert_close(out, (MIX / 3)[:, None].expand(-1, 3, -1, -1))


def test_another_share() -> None:
    with pytest.raises(ConfigError, match=r"no 'half'. Known: equal, power"):
        Consistent(three, "half")  # type: ignore[arg-type]
