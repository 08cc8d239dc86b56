"""Public models of demucs: names, signatures and checksums as its package lists them."""

from __future__ import annotations

from mss.release.importers.known import DEMUCS, Known, KnownFile

_ROOT = "https://dl.fbaipublicfiles.com/demucs/"
_PAGE = "https://github.com/facebookresearch/demucs"
# its author on its weights; the code alone is under the MIT licence
_LICENCE = "scientific use only (facebookresearch/demucs#327)"
_FOUR = ("drums", "bass", "other", "vocals")
_SEEN = "MUSDB18's test set was in its training data"
_MVSEP = "SDR, MVSep Multisong"
_MUSDB = "museval SDR, MUSDB18-HQ test"
_ONE_EACH = tuple(tuple(float(row == column) for column in range(4)) for row in range(4))
_MIXED = ((1.0, 1.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (1.0, 0.0, 1.0, 1.0), (1.0, 0.0, 1.0, 1.0))

_CHECKSUMS = {
    "mdx_final": {
        "0d19c1c6": "0f06f20e",
        "5d2d6c55": "db83574e",
        "7d865c68": "3d5dd56b",
        "7ecf8ec1": "70f50cc9",
        "a1d90b5c": "ae9d2452",
        "c511e2ab": "fe698775",
        "cfa93e08": "61801ae1",
        "e51eebcc": "c1b80bdd",
        "1ef250f1": "592467ce",
        "902315c2": "b39ce9c9",
        "9a6b4851": "03af0aa6",
        "fa0cb7f9": "100d8bf4",
    },
    "hybrid_transformer": {
        "955717e8": "8726e21a",
        "f7e0c4bc": "ba3fe64a",
        "d12395a8": "e57c48e6",
        "92cfc3b6": "ef3bcb9c",
        "04573f0d": "f3cf25b2",
        "75fc33f5": "1941ce65",
        "5c90dfd2": "34c22ccb",
    },
}


def _files(*signatures: str) -> tuple[KnownFile, ...]:
    """Return the file of each signature, once."""
    found = []
    for signature in dict.fromkeys(signatures):
        folder = next(name for name, files in _CHECKSUMS.items() if signature in files)
        checksum = _CHECKSUMS[folder][signature]
        found.append(KnownFile(f"{_ROOT}{folder}/{signature}-{checksum}.th", checksum))
    return tuple(found)


def _model(
    name: str,
    arch: str,
    *signatures: str,
    sources: tuple[str, ...] = _FOUR,
    scores: dict[str, dict[str, float]] | None = None,
    weights: tuple[tuple[float, ...], ...] | None = None,
    segment: float | None = None,
    megabytes: int | None = None,
    contamination: str | None = None,
) -> Known:
    return Known(
        name=name,
        arch=arch,
        sources=sources,
        family=DEMUCS,
        files=_files(*signatures),
        page=_PAGE,
        licence=_LICENCE,
        scores=scores or {},
        models=signatures,
        weights=weights,
        segment=segment,
        megabytes=megabytes,
        contamination=contamination,
    )


# The quantised ones (mdx_q, mdx_extra_q) are left out: diffq's format is not read.
DEMUCS_MODELS = (
    _model(
        "htdemucs",
        "htdemucs",
        "955717e8",
        scores={
            _MVSEP: {"drums": 10.88, "bass": 11.76, "other": 5.74, "vocals": 8.24, "mean": 9.16}
        },
        megabytes=84,
    ),
    _model(
        "htdemucs_ft",
        "htdemucs",
        *("f7e0c4bc", "d12395a8", "92cfc3b6", "04573f0d"),
        scores={_MUSDB: {"mean": 9.0}},
        weights=_ONE_EACH,
        megabytes=336,
    ),
    _model(
        "htdemucs_6s",
        "htdemucs",
        "5c90dfd2",
        sources=(*_FOUR, "guitar", "piano"),
        scores={_MVSEP: {"drums": 10.22, "bass": 11.22, "vocals": 8.05}},
    ),
    _model(
        "hdemucs_mmi",
        "hdemucs",
        "75fc33f5",
        scores={
            _MVSEP: {"drums": 10.70, "bass": 11.17, "other": 5.42, "vocals": 8.22, "mean": 8.88}
        },
        segment=44,
    ),
    _model(
        "mdx",
        "demucs, hdemucs",
        *("0d19c1c6", "7ecf8ec1", "c511e2ab", "7d865c68"),
        weights=_MIXED,
        segment=44,
    ),
    _model(
        "mdx_extra",
        "hdemucs",
        *("e51eebcc", "a1d90b5c", "5d2d6c55", "cfa93e08"),
        segment=44,
        contamination=_SEEN,
    ),
    _model(
        "repro_mdx_a",
        "demucs, hdemucs",
        *("9a6b4851", "1ef250f1", "fa0cb7f9", "902315c2"),
        segment=44,
    ),
    _model(
        "repro_mdx_a_hybrid_only",
        "hdemucs",
        *("fa0cb7f9", "902315c2", "fa0cb7f9", "902315c2"),
        segment=44,
    ),
    _model(
        "repro_mdx_a_time_only",
        "demucs",
        *("9a6b4851", "9a6b4851", "1ef250f1", "1ef250f1"),
        segment=44,
    ),
)
