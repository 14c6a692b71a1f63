"""Which biological constraints can a spiking network obey and still carry a teacher's latents."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Unless told otherwise, MKL picks the kernel of a small matrix by how many lie in the batch: on
# some AMD processors a replicate's last digit then depends on what it is packed with.
os.environ.setdefault("MKL_CBWR", "AUTO")

if TYPE_CHECKING:
    from rheobase import measures as measures
    from rheobase.api.figures import Figures as Figures
    from rheobase.api.networks import load_network as load_network
    from rheobase.api.runs import Run as Run
    from rheobase.api.runs import Trial as Trial
    from rheobase.api.runs import load_run as load_run
    from rheobase.api.study import new_study as new_study
    from rheobase.api.study import read_study as read_study
    from rheobase.api.study import run_study as run_study
    from rheobase.core.errors import RheobaseError as RheobaseError
    from rheobase.sessions.load import load_session as load_session
    from rheobase.sessions.own.adapters import from_alf as from_alf
    from rheobase.sessions.own.adapters import from_dataframe as from_dataframe
    from rheobase.sessions.own.adapters import from_neo as from_neo
    from rheobase.sessions.own.adapters import from_phy as from_phy
    from rheobase.sessions.own.adapters import from_pynapple as from_pynapple
    from rheobase.sessions.own.adapters import from_spikeinterface as from_spikeinterface
    from rheobase.sessions.own.recording import Recording as Recording
    from rheobase.sessions.own.recording import recording as recording
    from rheobase.study.file.spec import parse_study as parse_study

_ROOMS = {
    "Figures": "api.figures",
    "Recording": "sessions.own.recording",
    "RheobaseError": "core.errors",
    "Run": "api.runs",
    "Trial": "api.runs",
    "from_alf": "sessions.own.adapters",
    "from_dataframe": "sessions.own.adapters",
    "from_neo": "sessions.own.adapters",
    "from_phy": "sessions.own.adapters",
    "from_pynapple": "sessions.own.adapters",
    "from_spikeinterface": "sessions.own.adapters",
    "load_network": "api.networks",
    "load_run": "api.runs",
    "load_session": "sessions.load",
    "measures": "measures",
    "new_study": "api.study",
    "parse_study": "study.file.spec",
    "read_study": "api.study",
    "recording": "sessions.own.recording",
    "run_study": "api.study",
}
__all__ = [
    "Figures",
    "Recording",
    "RheobaseError",
    "Run",
    "Trial",
    "from_alf",
    "from_dataframe",
    "from_neo",
    "from_phy",
    "from_pynapple",
    "from_spikeinterface",
    "load_network",
    "load_run",
    "load_session",
    "measures",
    "new_study",
    "parse_study",
    "read_study",
    "recording",
    "run_study",
]


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is asked for: an import of all would take seconds."""
    if name not in _ROOMS:
        raise AttributeError(f"module 'rheobase' has no attribute '{name}'")
    room = import_module(f"rheobase.{_ROOMS[name]}")
    found = room if name == "measures" else getattr(room, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
