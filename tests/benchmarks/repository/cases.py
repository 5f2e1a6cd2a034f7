# SPDX-License-Identifier: GPL-3.0-or-later
"""The cases, one after the other, of our agent and of what people use today, on the same data and the same store."""

from __future__ import annotations

import filecmp
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mayfly_agent.blocks import BLOCK_SIZE

from tests.benchmarks.repository import direct, image
from tests.benchmarks.repository.others import OTHERS, Other, Stream
from tests.benchmarks.repository.runs import Agent, Figures, ebs_direct, measured
from tests.benchmarks.repository.store import Store, started
from tests.labs import ROOT

OURS = "mayfly"
_GIB = 1 << 30
_VOLUMES = 10
_SIMULATION_SECONDS = 1200


@dataclass(frozen=True)
class Sizes:
    """How large everything is. ``simulated_blocks``: of a volume of 16 TiB, how many blocks are listed."""

    image: int
    share: float
    points: int
    kept: int
    listed_points: int
    simulated_blocks: int
    unchanged_gib: int


FULL = Sizes(4 * _GIB, 0.01, 30, 7, 1000, 1 << 19, 1024)
SMALL = Sizes(64 << 20, 0.05, 4, 2, 10, 3000, 1)


@dataclass
class Results:
    """{case: {contestant: figures}}, and what else was found out."""

    sizes: Sizes
    cases: dict[str, dict[str, Figures]] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)

    def add(self, case: str, contestant: str, figures: Figures) -> None:
        """Also says it: the whole takes a quarter of an hour."""
        self.cases.setdefault(case, {})[contestant] = figures
        told = f"{figures.seconds:.2f} s, {figures.cpu_seconds:.2f} CPU s, {figures.peak_mib:.0f} MiB"
        say(f"{case}, {contestant}: {told}, {figures.stored / 2**20:.1f} MiB stored, {figures.requests} requests")

    def write(self, path: Path) -> None:
        """As JSON."""
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> Results:
        """What was written."""
        value = json.loads(path.read_text())
        cases = {
            case: {name: Figures(**each) for name, each in found.items()} for case, found in value["cases"].items()
        }
        return cls(Sizes(**value["sizes"]), cases, value["facts"])


_BEGAN = time.monotonic()


def say(text: str) -> None:
    """Progress."""
    print(f"[{time.monotonic() - _BEGAN:6.1f} s] {text}", flush=True)


class Benchmark:
    """All of it, below a folder that needs eight times the image's size."""

    def __init__(self, folder: Path, sizes: Sizes, store: Store, ebs_url: str) -> None:
        self._folder = folder
        self._sizes = sizes
        self._store = store
        self._ebs_url = ebs_url
        self._snapshots = folder / "snapshots"
        self._image = folder / "image"
        self._results = Results(sizes)
        self._taken = 0

    def run(self) -> Results:
        """Do it. Raises AssertionError when anything that was restored is not what was backed up."""
        began = time.monotonic()
        image.make(self._image, self._sizes.image)
        say(f"an image of {self._sizes.image / _GIB:.2f} GiB, made in {time.monotonic() - began:.0f} s")
        self._one_volume()
        self._ten_volumes()
        self._many_points()
        self._simulated()
        return self._results

    def _one_volume(self) -> None:
        """First, changed in clusters, changed here and there, unchanged; and everything back."""
        ours, others = self._contestants("one")
        steps: list[tuple[str, Callable[[], object]]] = [
            ("first full", lambda: None),
            ("1 % changed in clusters", lambda: image.change_clusters(self._image, self._sizes.share, 1)),
            ("1 % changed, scattered", lambda: image.change_scattered(self._image, self._sizes.share, 2)),
            ("no change", lambda: None),
        ]
        point, before = "", ""
        for number, (case, change) in enumerate(steps):
            change()
            snapshot = self._take(self._image)
            served = ours.server_cpu_seconds()
            volumes = {"vol-1": (snapshot, self._gib(self._image), before)}
            point, before = self._ours(case, ours, "backup", volumes=volumes, point=point)["restore_point"], snapshot
            self._results.facts[f"{case}: the EBS server's CPU s"] = ours.server_cpu_seconds() - served
            for other in others:
                if number in (0, len(steps) - 1) or not isinstance(other, Stream):
                    self._others(case, other, other.back_up([self._image], f"p{number}"))
        self._restore("restore of everything", (ours, point), {"vol-1": self._image}, others, "p3")

    def _ten_volumes(self) -> None:
        """One volume back out of ten, which are tenths of a quarter of the image."""
        ours, others = self._contestants("ten")
        length = self._sizes.image // 4 // _VOLUMES // BLOCK_SIZE * BLOCK_SIZE
        files = [self._folder / f"vol-{number}" for number in range(_VOLUMES)]
        with self._image.open("rb") as whole:
            for file in files:
                file.write_bytes(whole.read(length))
        volumes = {file.name: (self._take(file), self._gib(file), "") for file in files}
        _figures, told = ours.run("backup", volumes=volumes)
        for other in others:
            self._measure(other, other.back_up(files, "p0"))
        chosen = {files[3].name: files[3]}
        case = "restore of one volume of ten"
        self._restore(case, (ours, told["restore_point"]), chosen, others, "p0")
        for file in files:
            file.unlink()

    def _restore(
        self, case: str, from_ours: tuple[Agent, str], files: dict[str, Path], others: list[Other], from_theirs: str
    ) -> None:
        ours, point = from_ours
        direct.spare(self._snapshots, sum(file.stat().st_size for file in files.values()))
        served = ours.server_cpu_seconds()
        told = self._ours(case, ours, "restore", point=point, chosen=list(files))
        self._results.facts[f"{case}: the EBS server's CPU s"] = ours.server_cpu_seconds() - served
        for name, file in files.items():
            made = self._snapshots / f"{told['snapshots'][name]}.img"
            _cut(made, file.stat().st_size)
            assert filecmp.cmp(made, file, shallow=False), f"{name} was not restored as it was"
            made.unlink()
        for other in others:
            target = self._folder / "restored"
            target.mkdir()
            self._others(case, other, other.restore(list(files.values()), from_theirs, target))
            for file in files.values():
                found = next(target.rglob(file.name))
                assert filecmp.cmp(found, file, shallow=False), f"{other.title} has not restored {file.name}"
            shutil.rmtree(target)

    def _many_points(self) -> None:
        """Points of an eighth of the image, a share of it changed between two; most of them go."""
        ours, others = self._contestants("many")
        sizes, part = self._sizes, self._folder / "part"
        with self._image.open("rb") as whole:
            part.write_bytes(whole.read(sizes.image // 8))
        points, before = [], ""
        for number in range(sizes.points):
            image.change_scattered(part, sizes.share, number)
            snapshot = self._take(part)
            volumes = {"vol-1": (snapshot, self._gib(part), before)}
            _figures, told = ours.run("backup", volumes=volumes, point=points[-1] if points else "")
            points.append(told["restore_point"])
            before = snapshot
            for other in others:
                if not isinstance(other, Stream):
                    self._measure(other, other.back_up([part], f"p{number}"))
        say(f"{sizes.points} points of each")
        case = f"retention of {sizes.points} points down to {sizes.kept}"
        self._ours(case, ours, "retention", remove=points[: sizes.points - sizes.kept])
        for other in others:
            if other.keep(sizes.kept):
                self._others(f"listing {sizes.points} points", other, other.points())
                self._others(case, other, other.keep(sizes.kept))
        ours.run("fill", count=sizes.listed_points)
        figures, told = ours.run("points")
        assert len(told["points"]) == sizes.listed_points + sizes.kept
        self._results.add(f"listing {sizes.listed_points} points", OURS, figures)

    def _simulated(self) -> None:
        """A volume of 16 TiB of which all that is listed differs, and one in which nothing does."""
        results, sizes = self._results, self._sizes
        few = _simulation("listed", 16384, sizes.simulated_blocks // 4)
        many = _simulation("listed", 16384, sizes.simulated_blocks)
        results.facts |= {"simulated: few: MiB": few["peak_mib"], "simulated: MiB": many["peak_mib"]}
        results.facts["simulated: CPU s a block"] = many["cpu_seconds"] / many["blocks"]
        found = _simulation("unchanged", sizes.unchanged_gib, sizes.unchanged_gib * 2048)
        results.facts["unchanged: s"] = found["seconds"]
        say(", ".join(f"{name} {value:.4g}" for name, value in results.facts.items()))

    def _contestants(self, name: str) -> tuple[Agent, list[Other]]:
        """Each with a new repository."""
        ours = Agent(self._store, self._ebs_url, self._snapshots, f"mayfly-{name}")
        others = [kind(self._store, self._folder, f"{kind.__name__.lower()}-{name}") for kind in OTHERS]
        for other in others:
            other.set_up()
        return ours, others

    def _ours(self, case: str, ours: Agent, operation: str, **fields: Any) -> dict[str, Any]:
        stored = ours.stored()
        figures, told = ours.run(operation, **fields)
        self._results.add(case, OURS, replace(figures, stored=ours.stored() - stored))
        return told

    def _others(self, case: str, other: Other, command: list[str]) -> None:
        self._results.add(case, other.title, self._measure(other, command))

    def _measure(self, other: Other, command: list[str]) -> Figures:
        stored = other.stored()
        figures = measured(command, self._store, other.name, other.variables()).figures
        return replace(figures, stored=other.stored() - stored)

    def _take(self, file: Path) -> str:
        self._taken += 1
        name = f"snap-{self._taken}"
        direct.take(self._snapshots, name, file)
        return name

    def _gib(self, file: Path) -> int:
        return -(-file.stat().st_size // _GIB)


def run(folder: Path, sizes: Sizes) -> Results:
    """The whole benchmark in a folder of its own."""
    (folder / "store").mkdir()
    (folder / "snapshots").mkdir()
    with started(folder / "store") as store, ebs_direct(folder / "snapshots") as ebs_url:
        return Benchmark(folder, sizes, store, ebs_url).run()


def _simulation(name: str, gib: int, blocks: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.repository.simulated", name, str(gib), str(blocks)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SIMULATION_SECONDS, cwd=ROOT, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _cut(file: Path, size: int) -> None:
    """A volume has whole GiB; what stands behind the data must be zeros."""
    with file.open("r+b") as stream:
        stream.seek(size)
        while piece := stream.read(1 << 20):
            assert piece == bytes(len(piece)), f"{file} goes on behind its end"
        stream.truncate(size)
