"""Open-Unmix's folders in our terms; that the result computes the same is in tests/parity."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mss.core import registry
from mss.core.errors import ConfigError
from mss.core.types import AudioSpec
from mss.models.openunmix import OpenUnmix
from mss.nn.unmix import TargetNetwork
from mss.release.importers.openunmix import bandwidth_of, openunmix_from_openunmix

SEPARATOR = {"sample_rate": 22050, "nfft": 512, "nhop": 128, "nb_channels": 1}


def folder(targets: tuple[str, ...], **changes: Any) -> dict[str, Tensor]:
    """The weights of a folder, each name with its target's in front."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"channels": 1, "bins": 257, "bins_in": 100, "hidden": 8, "layers": 2}
    rest = {"unidirectional": False, "dropout": 0.0, "initial_mask": 1.0}
    return {
        f"{target}.{name}": value
        for target in targets
        for name, value in TargetNetwork(**(sizes | rest | changes)).state_dict().items()
    }


def load(options: dict[str, Any], state: dict[str, Tensor]) -> OpenUnmix:
    imported = openunmix_from_openunmix(options, state)
    assert imported.arch == "openunmix"
    model = OpenUnmix(
        registry.make_config(OpenUnmix.Config, imported.config, "model"), imported.spec
    )
    model.load_state_dict(imported.state, strict=True)
    return model


def test_sizes_are_read_off_the_weights() -> None:
    state = folder(("speech", "noise"))
    model = load({"separator": SEPARATOR, "targets": ["noise", "speech"]}, state)
    assert model.spec == AudioSpec(("noise", "speech"), 22050, 1)
    assert (model.config.nfft, model.config.nhop, model.config.niter) == (512, 128, 1)
    assert (model.config.hidden_size, model.config.nb_layers) == (8, 2)
    assert model.bins_in == 100 and not model.config.unidirectional
    for index, target in enumerate(("noise", "speech")):
        got = model.targets[index].state_dict()["fc1.weight"]
        assert torch.equal(got, state[f"{target}.fc1.weight"])


def test_a_causal_network_of_all_bins() -> None:
    state = folder(("speech",), unidirectional=True, layers=3, bins_in=257)
    config = load({"separator": SEPARATOR, "speech": {"args": {}}}, state).config
    assert config.unidirectional and config.nb_layers == 3 and config.bandwidth is None
    assert config.niter == 0  # nothing to filter against
    config = load({"separator": SEPARATOR, "residual": True, "niter": 2}, state).config
    assert config.residual and config.niter == 2


def test_files_of_the_published_size_need_no_json() -> None:
    state = folder(("vocals", "drums"), channels=2, bins=2049, bins_in=1487, hidden=4)
    state["vocals.transform.0.window"] = torch.ones(4096)
    state["vocals.sample_rate"] = torch.tensor(44100.0)
    model = load({}, state)
    assert model.spec == AudioSpec(("vocals", "drums"), 44100, 2)
    assert model.config.nhop == 1024 and model.config.bandwidth == 16000


@pytest.mark.parametrize("samplerate", [16000, 22050, 44100, 48000])
@pytest.mark.parametrize("nfft", [512, 1024, 4096])
def test_every_number_of_bins_has_a_bandwidth(nfft: int, samplerate: int) -> None:
    for bins_in in range(1, nfft // 2 + 2):
        bandwidth = bandwidth_of(bins_in, nfft, samplerate)
        got = nfft // 2 + 1 if bandwidth is None else int(bandwidth * nfft / samplerate) + 1
        assert got == bins_in


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "separator: needed"),
        ({"separator": {"nhop": 128}}, r"separator\.sample_rate"),
        ({"separator": SEPARATOR | {"nfft": 1024}}, r"separator\.nfft: 1024.*512"),
        ({"separator": SEPARATOR | {"nb_channels": 2}}, r"separator\.nb_channels: 2.*1"),
        ({"separator": SEPARATOR, "nitr": 1}, "nitr: no option.*niter"),
        ({"separator": SEPARATOR, "targets": ["vocals"]}, "targets: vocals.*speech"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        openunmix_from_openunmix(options, folder(("speech",)))


def test_foreign_weights_are_named() -> None:
    state = folder(("speech",))
    with pytest.raises(ConfigError, match=r"speech\.conv\.weight"):
        openunmix_from_openunmix(
            {"separator": SEPARATOR}, state | {"speech.conv.weight": torch.zeros(1)}
        )
    del state["speech.input_mean"]
    with pytest.raises(ConfigError, match="input_mean: missing"):
        openunmix_from_openunmix({"separator": SEPARATOR}, state)
    with pytest.raises(ConfigError, match="targets: none"):
        openunmix_from_openunmix({}, {})
