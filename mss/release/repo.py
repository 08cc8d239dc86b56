"""A repo: a folder of released models and bags, with an index.

Which files are listed is decided by index.json alone, never by what lies in the folder: a file that
was put there by hand has no hash to be held against. `Repo.reindex` lists such files after checking
each. Bags are the folder's ``*.yaml`` files. Nothing outside of the folder is ever opened.
"""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import platformdirs
import torch
from filelock import FileLock, Timeout

from mss.core.errors import DataError, nearest_name_hint
from mss.core.files import file_sha256, write_text_atomic
from mss.core.separator import Separator
from mss.core.types import AudioSpec, InferenceDefaults
from mss.release.bag import (
    BAG_SUFFIX,
    BagRecipe,
    common_contract,
    member_weights,
    read_bag,
    write_bag,
)
from mss.release.card import render_card
from mss.release.container import SUFFIX, read_header, verify_package
from mss.release.header import Header, require_json
from mss.release.index import INDEX_NAME, Entry, Index, read_index, write_index
from mss.release.package import load_package

logger = logging.getLogger(__name__)

REPO_VARIABLE = "STEMGRID_REPO"
LOCAL_REPO = "release_models"
_LOCK_SECONDS = 60.0


class NoModelError(DataError):
    """There is no released model at hand at all."""


@dataclass(frozen=True)
class BagEntry:
    """A bag of models in a repo."""

    name: str
    file: str
    recipe: BagRecipe


@dataclass(frozen=True)
class Release:
    """What a name in a repo stands for, loaded: one model, or the members of a bag.

    Attributes:
        name: full name of the model or of the bag.
        members: models in evaluation mode, all of the same spec.
        weights: [members][sources], each member's share of each source, summing to 1 over members;
            None: all members count equally.
        spec: what comes out.
        inference: how to run it over a whole file.
        headers: of the members.
    """

    name: str
    members: tuple[Separator, ...]
    weights: tuple[tuple[float, ...], ...] | None
    spec: AudioSpec
    inference: InferenceDefaults
    headers: tuple[Header, ...]


def default_repo_root() -> Path:
    """Return $STEMGRID_REPO, else ./release_models where it exists, else the user's data folder."""
    chosen = os.environ.get(REPO_VARIABLE, "").strip()
    if chosen:
        return Path(chosen).expanduser()
    if Path(LOCAL_REPO).is_dir():
        return Path(LOCAL_REPO)
    return Path(platformdirs.user_data_dir("stemgrid", appauthor=False)) / "models"


class Repo:
    """A folder of released models. Reading needs no write permission and takes no lock."""

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        """Args: root: the folder, which need not exist yet (default: default_repo_root())."""
        self.root = default_repo_root() if root is None else Path(root)

    # --- what is here ---

    def entries(self) -> tuple[Entry, ...]:
        """Return the listed models, the newest last."""
        return self._read().models

    @property
    def default(self) -> str | None:
        """Name of the model or bag that is meant where none is named."""
        return self._read().default

    def bag_names(self) -> tuple[str, ...]:
        """Return the names of the bags."""
        return tuple(sorted(path.stem for path in self._visible(BAG_SUFFIX)))

    def resolve(self, query: str | None = None) -> Entry | BagEntry:
        """Return the model or bag that `query` stands for.

        Args:
            query: a full name; a signature or an alias; or the start of one of these, if it fits
                one release only. Releases of one run count as one, and the newest is meant. None:
                the default.

        Raises:
            NoModelError: the repo is empty.
            DataError: nothing or more than one thing fits.
        """
        index = self._read()
        bags = self.bag_names()
        if not index.models and not bags:
            raise NoModelError(self._no_model())
        if query is None:
            query = index.default
            if query is None:
                hint = nearest_name_hint("", [*(entry.name for entry in index.models), *bags])
                raise DataError(f"{self.root}: it has no default model; name one.{hint}")
        if (entry := index.entry(query)) is not None:
            return entry
        if query in bags:
            return self._bag(query)
        return self._resolve_start(query, index.models, bags)

    def _resolve_start(
        self, query: str, models: tuple[Entry, ...], bags: tuple[str, ...]
    ) -> Entry | BagEntry:
        """Resolve a signature, an alias, or the start of a name or of one of these."""
        fitting = [
            entry for entry in models if query and query in (entry.signature, *entry.aliases)
        ]
        fitting_bags: list[str] = []
        if query and not fitting:
            fitting = [
                entry
                for entry in models
                if any(n.startswith(query) for n in (entry.name, entry.signature, *entry.aliases))
            ]
            fitting_bags = [name for name in bags if name.startswith(query)]
        runs = {(entry.arch, entry.signature): entry for entry in fitting}  # the newest wins
        if len(runs) + len(fitting_bags) > 1:
            found = ", ".join([*(entry.name for entry in fitting), *fitting_bags])
            raise DataError(f"{self.root}: {query!r} fits more than one: {found}; give more of it")
        if fitting_bags:
            return self._bag(fitting_bags[0])
        if not runs:
            names = [name for entry in models for name in (entry.name, *entry.aliases)]
            hint = nearest_name_hint(query, [*names, *bags])
            raise DataError(f"{self.root}: there is no model {query!r}.{hint}")
        return next(iter(runs.values()))

    # --- loading ---

    def load(
        self,
        query: str | None = None,
        device: torch.device | str = "cpu",
        plugins: bool = False,
    ) -> Release:
        """Load the model or bag that `query` stands for (see resolve).

        Args:
            query: name, signature, alias, unique start of one, or None for the default.
            device: where the models go.
            plugins: let installed plug-ins give architectures.

        Raises:
            DataError: see resolve and mss.release.package.load_package.
        """
        found = self.resolve(query)
        if isinstance(found, Entry):
            model, header = self._load_entry(found, device, plugins)
            return Release(found.name, (model,), None, header.spec, header.inference, (header,))
        path = self._inside(found.file)
        listed = self.entries()
        entries = [_member(name, listed, path) for name in found.recipe.members]
        loaded = [self._load_entry(entry, device, plugins) for entry in entries]
        headers = {entry.name: header for entry, (_, header) in zip(entries, loaded, strict=True)}
        spec, inference = common_contract(headers, found.recipe.segment, path)
        return Release(
            name=found.name,
            members=tuple(model for model, _ in loaded),
            weights=member_weights(found.recipe, spec.sources, path),
            spec=spec,
            inference=inference,
            headers=tuple(headers.values()),
        )

    def header(self, entry: Entry) -> Header:
        """Return the header of a listed model without reading its weights."""
        return read_header(self._inside(entry.file))

    def _load_entry(
        self, entry: Entry, device: torch.device | str, plugins: bool
    ) -> tuple[Separator, Header]:
        path = self._inside(entry.file)
        return load_package(path, device=device, plugins=plugins, sha256=entry.sha256)

    def _bag(self, name: str) -> BagEntry:
        path = self._inside(f"{name}{BAG_SUFFIX}")
        return BagEntry(name, path.name, read_bag(path))

    # --- listing ---

    def add(self, path: str | os.PathLike[str], default: bool = False) -> Entry:
        """List a released file that lies in the folder, and write its card beside it.

        The first model becomes the default. A file that is listed already keeps its date and the
        scores that were added since.

        Args:
            path: as save_package returned it.
            default: make it the default.

        Raises:
            DataError: the file is outside of the folder or damaged.
        """
        file = Path(path)
        if file.resolve().parent != self.root.resolve():
            raise DataError(f"{file}: lies outside of {self.root}; copy it there first")
        inside = self._inside(file.name)
        entry = self._describe(inside, verify_package(inside))
        with self._changing() as index:
            entry = _keep_history(entry, index.entry(entry.name))
            index.put(entry)
            if default or index.default is None:
                index.default = entry.name
            self._write_card(entry)
        return entry

    def add_bag(self, name: str, recipe: BagRecipe, default: bool = False) -> BagEntry:
        """Write a bag of listed models as ``<name>.yaml``; the same bag again changes nothing.

        Args:
            name: of the bag.
            recipe: its members are full names.
            default: make it the default (the first one that is listed always is).

        Raises:
            DataError: a member is not listed, they can't be run side by side, or another bag has
                that name.
        """
        path = self._inside(f"{name}{BAG_SUFFIX}")
        with self._changing() as index:
            headers = {
                member: self.header(_member(member, index.models, path))
                for member in recipe.members
            }
            spec, _ = common_contract(headers, recipe.segment, path)
            member_weights(recipe, spec.sources, path)
            if path.exists() and read_bag(path) != recipe:
                raise DataError(
                    f"{path}: another bag has this name; remove it, or give another name"
                )
            if not path.exists():
                write_bag(path, recipe)
            if default or index.default is None:
                index.default = name
        return self._bag(name)

    def add_scores(self, name: str, scores: Mapping[str, Any]) -> Entry:
        """Add scores, by protocol id, to the index and the card of the model `name` (full name).

        The released file is not touched: its header keeps what was known at the export.
        """
        require_json(dict(scores), "scores")
        with self._changing() as index:
            old = index.entry(name)
            if old is None:
                hint = nearest_name_hint(name, [entry.name for entry in index.models])
                raise DataError(f"{self.root}: there is no model {name!r}.{hint}")
            entry = replace(old, scores={**old.scores, **scores})
            index.models = tuple(entry if other.name == name else other for other in index.models)
            self._write_card(entry)
        return entry

    def set_default(self, query: str) -> str:
        """Make the model or bag that `query` stands for the default; return its full name."""
        name = self.resolve(query).name
        with self._changing() as index:
            index.default = name
        return name

    def reindex(self) -> tuple[Entry, ...]:
        """Make the index anew from the files in the folder, after checking each one's integrity.

        Dates, added scores and the default are kept where the old index can still be read.

        Raises:
            DataError: a file is damaged; nothing is changed then.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with self._lock():
            try:
                old = self._read()
            except DataError as error:
                logger.warning("the old index is dropped: %s", error)
                old = Index()
            entries = [
                _keep_history(self._describe(path, verify_package(path)), old.entry(path.stem))
                for path in sorted(self._visible(SUFFIX))
            ]
            order = {entry.name: place for place, entry in enumerate(old.models)}
            entries.sort(key=lambda entry: (order.get(entry.name, len(order)), entry.date or ""))
            index = Index(old.default, tuple(entries))
            if index.default not in {*self.bag_names(), *(entry.name for entry in entries)}:
                index.default = entries[0].name if entries else None
            write_index(self._index_path, index)
            for entry in entries:
                self._write_card(entry)
        return index.models

    def _describe(self, path: Path, header: Header) -> Entry:
        return Entry(
            name=path.stem,
            file=path.name,
            sha256=file_sha256(path),
            bytes=path.stat().st_size,
            signature=header.signature,
            arch=header.arch,
            sources=header.spec.sources,
            samplerate=header.spec.samplerate,
            channels=header.spec.channels,
            parameters=header.parameters,
            scores=header.scores,
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            aliases=header.aliases,
        )

    def _write_card(self, entry: Entry) -> None:
        card = render_card(entry.name, self.header(entry), entry.scores)
        write_text_atomic(self._inside(f"{entry.name}.md"), card)

    # --- the folder ---

    @property
    def _index_path(self) -> Path:
        return self.root / INDEX_NAME

    @property
    def _reindex_command(self) -> str:
        return f"python -m tools.export --reindex -o {self.root}"

    def _read(self) -> Index:
        if self._index_path.exists():
            return read_index(self._index_path, self._reindex_command)
        if files := self._visible(SUFFIX):
            raise DataError(
                f"{self._index_path}: is missing, though {len(files)} released file(s) lie beside "
                f"it; list them: {self._reindex_command}"
            )
        return Index()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Index]:
        """Yield the index to change, alone among all processes; write it unless the body raised."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self._lock():
            # The first export finds its own file, and perhaps another export's, not listed yet.
            index = self._read() if self._index_path.exists() else Index()
            yield index
            write_index(self._index_path, index)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        lock = self.root / ".index.lock"
        try:
            with FileLock(lock, timeout=_LOCK_SECONDS):
                yield
        except Timeout as error:
            raise DataError(
                f"{lock}: another program has been changing this repo for {_LOCK_SECONDS:.0f} s; "
                "wait for it to end, then start again"
            ) from error

    def _visible(self, suffix: str) -> list[Path]:
        """Return the folder's files of an ending, those being written left out."""
        if not self.root.is_dir():
            return []
        return [
            path for path in sorted(self.root.glob(f"*{suffix}")) if not path.name.startswith(".")
        ]

    def _inside(self, name: str) -> Path:
        """Return the path of a file of this folder.

        Raises:
            DataError: the name, or a link of that name, leads out of the folder.
        """
        path = self.root / name
        plain = name and not name.startswith(".") and not set(name) & set("/\\:\0")
        if not plain or path.resolve().parent != self.root.resolve():
            raise DataError(
                f"{self.root}: {name!r} leads out of this folder; a repo's files lie in the folder "
                "itself, without links to elsewhere"
            )
        return path

    def _no_model(self) -> str:
        return (
            f"no released model in {self.root}: train one (`make demo` in a clone leaves one in "
            f"{LOCAL_REPO}), or give a folder that holds some, with --repo FOLDER or "
            f"${REPO_VARIABLE}"
        )


def _keep_history(entry: Entry, old: Entry | None) -> Entry:
    """Return `entry` with date and scores of the same file's earlier listing."""
    if old is None or old.sha256 != entry.sha256:
        return entry
    return replace(entry, date=old.date, scores={**entry.scores, **old.scores})


def _member(name: str, listed: tuple[Entry, ...], bag: Path) -> Entry:
    """Return the listed model of a full name. A bag names nothing else: no paths, no starts."""
    for entry in listed:
        if entry.name == name:
            return entry
    hint = nearest_name_hint(name, [entry.name for entry in listed])
    raise DataError(f"{bag}: members: {name!r} is not the full name of a model in this repo.{hint}")
