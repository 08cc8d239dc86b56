"""Songs that a model learned from are refused, on what its release records."""

from types import SimpleNamespace
from typing import Any

import pytest

from mss.core.errors import ConfigError
from mss.distill.quality.unseen import check_unseen


def song_set(name: str = "demo", split: str = "test", songs: Any = ("a", "b")) -> Any:
    return SimpleNamespace(
        name=name,
        split=split,
        fingerprint=f"print of {split} {songs}",
        tracks=tuple(SimpleNamespace(name=song) for song in songs),
    )


def released(**provenance: Any) -> Any:
    header = SimpleNamespace(prefix="toy-aaaa1111", provenance=provenance)
    return SimpleNamespace(name="toy-aaaa1111-0", headers=(header,))


def recorded(name: str = "demo", songs: Any = ("c", "d"), fingerprint: str = "-") -> Any:
    return {"name": name, "fingerprint": fingerprint, "tracks": list(songs)}


def test_a_model_of_other_songs_passes_without_notes() -> None:
    data = {"train": recorded(), "valid": recorded(songs=("e",)), "test": recorded(songs=("a",))}
    assert check_unseen(released(data=data), [song_set()]) == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"train": recorded(songs=("b", "c"))}, r"toy-aaaa1111-0 was trained on .* such as 'b'"),
        ({"valid": recorded(songs=("a",))}, "has its best epoch chosen by songs of demo"),
        (
            {"train": recorded("copy", ("x",), "print of test ('a', 'b')")},
            "was trained on songs of demo .*all of them",
        ),
    ],
)
def test_songs_that_it_learned_from_are_refused(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_unseen(released(data=data), [song_set(split="valid", songs=("z",)), song_set()])


def test_what_a_release_leaves_open_is_told() -> None:
    (note,) = check_unseen(released(), [song_set()])
    assert "nothing is recorded of what it was trained on" in note
    known = {"data": {"train": recorded("other", ("a",))}}
    (note,) = check_unseen(released(**known), [song_set()])
    assert "songs have the same names as here, such as 'a'" in note
    _, contaminated, continued = check_unseen(
        released(contamination="MUSDB's test set was in it", continued_from="run 1234"),
        [song_set()],
    )
    assert contaminated.endswith("MUSDB's test set was in it")
    assert "began as those of run 1234" in continued


def test_every_member_of_a_bag_is_asked() -> None:
    bag = released(data={"train": recorded()})
    seen = released(data={"train": recorded(songs=("a",))})
    bag.headers = (*bag.headers, *seen.headers)
    with pytest.raises(ConfigError, match="toy-aaaa1111 in toy-aaaa1111-0 was trained on"):
        check_unseen(bag, [song_set()])
