"""`@materialize`: a task that says which assets it makes. They are recorded as links of its run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import recorder
from . import context
from .tasks import Task


class AssetProperties:
    """`name`, `url`, `description`, `owners`."""

    def __init__(self, **properties: Any) -> None:
        self.__dict__.update(properties)


class Asset:
    """Something that is made, under a key which is a URI."""

    def __init__(self, key: str, properties: AssetProperties | None = None) -> None:
        if "://" not in key:
            raise ValueError(f"an asset's key is a URI, not {key!r}")
        self.key, self.properties = key, properties

    def __repr__(self) -> str:
        return f"Asset(key={self.key!r})"

    def add_metadata(self, metadata: dict[str, Any]) -> None:
        add_asset_metadata(self, metadata)


class MaterializingTask(Task):
    """A task with `assets`."""

    known = Task.known | {"assets", "materialized_by"}

    def __init__(self, fn: Callable[..., Any], **options: Any) -> None:
        self.assets = [
            each if isinstance(each, Asset) else Asset(each) for each in options.get("assets") or ()
        ]
        super().__init__(fn, **options)

    def hooks(self, name: str) -> list[Callable[..., Any]]:
        """Its assets are recorded when it begins, while its run is open."""
        return [*super().hooks(name), *([_record] if name == "on_running" else [])]


def materialize(
    *assets: str | Asset, by: str | None = None, **options: Any
) -> Callable[[Any], MaterializingTask]:
    """`@materialize("s3://bucket/file.csv")`: a `@task`, with all its options."""
    if not assets:
        raise TypeError("materialize() needs at least one asset")
    return lambda fn: MaterializingTask(fn, assets=list(assets), materialized_by=by, **options)


def add_asset_metadata(asset: str | Asset, metadata: dict[str, Any]) -> None:
    """Facts about an asset that the current task makes: a table of its run."""
    run = recorder.current()
    if run is not None and context.current_call() is not None:
        key = asset if isinstance(asset, str) else asset.key
        run.artifact(f"{key} metadata", "table", [metadata])


def _record(made_by: Any, run: Any, state: Any) -> None:
    now = recorder.current()
    for asset in made_by.assets if now is not None else ():
        now.artifact(asset.key, "link", asset.key, getattr(asset.properties, "description", None))  # type: ignore[union-attr]
