"""What the requests of one worker process share."""

from __future__ import annotations

from attrs import define, field

from ..setting_types import Settings
from .access import Access
from .admission import Admission
from .bindings import Projects
from .kept import Kept
from .options import Options
from .stores import Stores
from .writer import Writer


@define
class State:
    """`clocks`: addresses of clients whose clock was spoken of. `streams`: how many pages are told of news.
    `public`: what anybody was shown lately."""

    options: Options
    stores: Stores
    writer: Writer
    access: Access
    admission: Admission
    projects: Projects
    settings: Settings
    clocks: set[str] = field(factory=set)
    streams: int = 0
    public: Kept = field(factory=Kept)
