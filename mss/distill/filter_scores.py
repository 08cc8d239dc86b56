"""How well a filter finds noise that was planted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mss.core.errors import DataError
from mss.data.noise_truth import NoiseKind, NoiseTruth
from mss.distill.verdict import Verdicts


@dataclass(frozen=True)
class Detection:
    """How well noisy ones among many were found.

    Attributes:
        judged: how many there are.
        noisy: how many of them are noisy.
        flagged: how many were thrown out.
        found: how many were so rightly.
        auc: area under the ROC curve of the margins, the chance that a noisy one's is below that of
            one that is right; None where there is none of either, or no margin to go by.
    """

    judged: int
    noisy: int
    flagged: int
    found: int
    auc: float | None

    @property
    def precision(self) -> float | None:
        """Share of those thrown out that are noisy; None: none was."""
        return self.found / self.flagged if self.flagged else None

    @property
    def recall(self) -> float | None:
        """Share of the noisy ones that were thrown out; None: there is none."""
        return self.found / self.noisy if self.noisy else None


@dataclass(frozen=True)
class _Judged:
    """A stem or a song: what it is, and what was thought of it."""

    stem: str
    kind: NoiseKind | None
    margin: float
    flagged: bool


def score_filter(verdicts: Verdicts, truth: NoiseTruth) -> dict[str, Detection]:
    """Hold verdicts against what was planted.

    Silent stems have no margin and are left out; a song is noisy where one of its stems is, silent
    or not, and its margin is that of its worst stem.

    Returns:
        "stems" (margins relative to the median of the stems of the same name, as names differ in
        what a separator makes of them), "stems as they are" (plain margins), the stems of each
        name, "swap" and "bleed" (noisy stems of this kind beside all that are right), "songs".

    Raises:
        DataError: the verdicts are of other songs than the truth.
    """
    if verdicts.stems.keys() != truth.songs.keys():
        odd = min(verdicts.stems.keys() ^ truth.songs.keys())
        raise DataError(f"--truth: is of other songs than were judged: see {odd!r}")
    plain, relative = list(_stems(verdicts, truth)), list(_stems(verdicts, truth, relative=True))
    scores = {"stems": _detection(relative), "stems as they are": _detection(plain)}
    for name in truth.stems:
        scores[name] = _detection([stem for stem in plain if stem.stem == name])
    for kind in ("swap", "bleed"):
        of_kind = [stem for stem in relative if stem.kind in (None, kind)]
        if any(stem.kind for stem in of_kind):
            scores[kind] = _detection(of_kind)
    scores["songs"] = _detection(list(_songs(verdicts, truth)))
    return scores


def _stems(verdicts: Verdicts, truth: NoiseTruth, relative: bool = False) -> Iterable[_Judged]:
    for song, of_song in verdicts.stems.items():
        for stem, verdict in of_song.items():
            margin = verdict.relative_db if relative else verdict.margin_db
            if margin is not None:
                yield _Judged(stem, truth.kind(song, stem), margin, verdict.kept is False)


def _songs(verdicts: Verdicts, truth: NoiseTruth) -> Iterable[_Judged]:
    for song, of_song in verdicts.stems.items():
        margins = [v.relative_db for v in of_song.values() if v.relative_db is not None]
        planted = truth.songs[song]
        if margins:
            kind = planted.kind if planted is not None else None
            yield _Judged("", kind, min(margins), not verdicts.is_clean(song))


def _detection(judged: Sequence[_Judged]) -> Detection:
    noisy = [one for one in judged if one.kind is not None]
    right = [one.margin for one in judged if one.kind is None]
    return Detection(
        judged=len(judged),
        noisy=len(noisy),
        flagged=sum(one.flagged for one in judged),
        found=sum(one.flagged for one in noisy),
        auc=_auc([one.margin for one in noisy], right),
    )


def _auc(noisy: Sequence[float], right: Sequence[float]) -> float | None:
    """Return the share of pairs in which the noisy one's margin is below, ties counting half.

    It is Mann and Whitney's U of the margins that are right, over the number of pairs.
    """
    if not noisy or not right:
        return None
    from scipy import stats  # a second to import, for scores alone

    ranks = stats.rankdata([*right, *noisy])[: len(right)]
    u = ranks.sum() - len(right) * (len(right) + 1) / 2
    return float(u / (len(right) * len(noisy)))
