# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a run: nothing new is made, workers end, and what is left is looked for until nothing is found."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from .. import reaping
from . import aws, things
from .context import Run
from .errors import KeeperError
from .server import Server
from .things import NotRemoved, Thing

log = logging.getLogger(__name__)

# The whole end stays below the runner's patience with a keeper (300 s, mayfly/settling.py) and a playbook's with its
# own (guard.py): what one part does not use is left to the next, and each gets a little in any case.
_END_SECONDS = 240.0
_TERMINATE_SECONDS = 150.0
_DRAIN_SECONDS = 90.0
_LEAST_SECONDS = 10.0
# What will not go yet, as a group that something uses, is left for so long: then an instance may be seen that uses it.
_SLICE_SECONDS = 20.0
_BETWEEN_SECONDS = 1.0
# Volumes of the user's own are put back, however long it takes: what waits for the keeper is told that it goes on.
_UNDO_SECONDS = 3600.0
_CLEAN_IN_A_ROW = 2
Place = tuple[str, str]


def end_run(run: Run, server: Server) -> list[KeeperError]:
    """End everything of the run; what could not be ended."""
    began = time.monotonic()
    ends = began + _END_SECONDS
    run.close()
    run.credentials.stop()
    run.spot.stop()
    run.workers.terminate_all(_TERMINATE_SECONDS)  # what fails is tried again below
    # A call that was making something when the playbook died may still come through; what it made is found by its tags.
    if not server.drain(min(_DRAIN_SECONDS, _left(ends)), run.closing.waiting):
        log.warning("calls are still under way")
    errors = sweep_run(run, _left(ends))
    # Workers that were launched meanwhile, or could not be ended at first, are registered still.
    told = {error.thing.id for error in errors if isinstance(error, NotRemoved)}
    last = run.workers.terminate_all(_left(ends))
    errors += [error for error in last if not (isinstance(error, NotRemoved) and error.thing.id in told)]
    if not run.undoing.wait(0):
        log.warning("volumes are still put back")
        if not run.undoing.wait(_UNDO_SECONDS):
            message = f"An instance has not got its own volumes back after {_UNDO_SECONDS:.0f} s."
            errors.append(KeeperError("NotPutBack", message, "Tags of volumes say where they belong."))
        errors += sweep_run(run, _SLICE_SECONDS)  # the volumes that had taken their place
    run.marker.stop()
    run.workers.close()
    log.info("the run has ended after %.1f s, %d things are left", time.monotonic() - began, len(errors))
    return errors


def _left(ends: float) -> float:
    return max(_LEAST_SECONDS, ends - time.monotonic())


def sweep_run(run: Run, seconds: float = _END_SECONDS) -> list[KeeperError]:
    """Remove what carries the run's tags until two looks in a row find nothing; what is left after ``seconds``.

    What AWS refuses for good is left at once, and keeps nothing else from its end.
    """
    ends = time.monotonic() + seconds
    clean: int = 0
    refused: dict[str | Place, KeeperError] = {}  # by a thing's id, or by a place that may not be searched
    errors: list[KeeperError] = []
    places = run.temporaries.places()
    while places and clean < _CLEAN_IN_A_ROW:
        look = _look(run, [place for place in places if place not in refused])
        refused |= look.refused
        errors = look.errors
        found = [thing for thing in look.found if thing.id not in refused]
        slice_ends = min(ends, time.monotonic() + _SLICE_SECONDS)
        for thing, error in things.remove_all(run.clients, found, slice_ends).items():
            if error is None:
                run.temporaries.forget(thing.id)
            elif isinstance(error, NotRemoved) and error.final:
                refused[thing.id] = error
            else:
                errors.append(error)
        # An instance that is shutting down is no error, but what its agent makes meanwhile must be found as well, and
        # volumes that it lets go.
        again = look.stopping and (look.holding or run.may_still_make())
        clean = 0 if found or errors or again else clean + 1
        if time.monotonic() > ends:
            break
        if clean < _CLEAN_IN_A_ROW:
            time.sleep(_BETWEEN_SECONDS)
    return [*refused.values(), *errors]


@dataclass
class _Look:
    """What of the run is to be removed now, whether an instance of it is shutting down, whether any has volumes of it,
    and what could not be looked into.
    """

    found: list[Thing] = field(default_factory=list)
    stopping: bool = False
    holding: bool = False
    errors: list[KeeperError] = field(default_factory=list)
    refused: dict[str | Place, KeeperError] = field(default_factory=dict)


def _look(run: Run, places: list[Place]) -> _Look:
    tags = {"mayfly:run": run.id, **things.TEMPORARY}
    look = _Look()
    found: list[Thing] = []
    for place in places:
        try:
            found += things.find(run.clients.ending_client(*place), place, tags)
        except (*aws.ERRORS, KeeperError) as error:
            log.exception("what the run left in account %s, %s was not looked for", *place)
            failure = KeeperError("CleanupFailed", f"{place[0]}, {place[1]} could not be searched: {error}")
            if aws.is_final(error):
                look.refused[place] = failure
            else:
                look.errors.append(failure)
    seen = {thing.id for thing in found}
    known = [thing for thing in run.temporaries.all() if thing.id not in seen]
    ours = [thing for thing in found + known if not reaping.is_forged(thing.kind, thing.tags, thing.created)]
    wanted = [thing for thing in ours if not thing.held and thing.state not in things.GOING]
    look.found = [thing for thing in wanted if not run.temporaries.was_handed_over(thing.id)]
    look.stopping = any(thing.kind == "instance" and thing.state in things.GOING for thing in found)
    look.holding = any(thing.kind == "volume" and thing.held for thing in found)
    return look
