#!/usr/bin/env python3
"""Does a test notice each mutant of tests/sim/mutants.txt? Prints the table; exit 1 when one is not noticed.

Every mutant is a copy of one source file with one text exchanged. It is compiled with the very command of the build and
linked before the room's library into the programs that contain the file: `prove` (every case of a small world), `rules` (the
tables of tests/rules) and `worlds` (simulated worlds); or into the one test that the table names, where none of those can
see it. Needs a build with tests: make build.
"""
import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "tests" / "sim" / "mutants.txt"
TIME_LIMIT_S = 600


class Wrong(Exception):
    """The table or the build is not as it should be."""


class Mutant:
    def __init__(self, name, what):
        self.name, self.what, self.path, self.test = name, what, None, None
        self.old, self.new = [], []

    def text(self):
        source = (ROOT / self.path).read_text()
        old, new = "\n".join(self.old), "\n".join(self.new)
        if source.count(old) != 1:
            raise Wrong(f"{self.name}: the text is {source.count(old)} times in {self.path}:\n{old}")
        return source.replace(old, new)


def read_table():
    mutants = []
    for number, line in enumerate(TABLE.read_text().split("\n"), 1):
        word, _, rest = line.partition(" ")
        if line == "" or word == "#":
            continue
        if word == "mutant" and ": " in rest:
            mutants.append(Mutant(*rest.split(": ", 1)))
        elif word == "file" and mutants and mutants[-1].path is None:
            mutants[-1].path = rest
        elif word == "test" and mutants and mutants[-1].test is None:
            mutants[-1].test = rest
        elif word in ("-", "+") and mutants and mutants[-1].path:
            (mutants[-1].old if word == "-" else mutants[-1].new).append(rest)
        else:
            raise Wrong(f"{TABLE.name}:{number}: cannot be understood: {line}")
    names = [m.name for m in mutants]
    if len(set(names)) != len(names):
        raise Wrong("two mutants have one name")
    for mutant in mutants:
        mutant.text()
    return mutants


class Program:
    """A test program: how it is linked, from which sources, how it is run."""

    def __init__(self, build, name, target, arguments, environment):
        self.build, self.name, self.target = build, name, target
        self.arguments, self.environment = arguments, {**os.environ, **environment}
        done = subprocess.run(["ninja", "-C", build, "-t", "commands", target], capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            raise Wrong(f"{target} is not in {build}: build with tests first (make build)")
        commands = done.stdout.strip().split("\n")
        self.link = shlex.split(commands[-1])
        self.sources = {str((build / word).resolve()) for command in commands for word in shlex.split(command)
                        if word.endswith(".c")}

    def contains(self, source):
        return str(source) in self.sources

    def link_with(self, mutated, output):
        """The mutated object comes first, so nothing is taken from its room's library in its place."""
        words = list(self.link)
        words[words.index("-o") + 1] = str(output)
        first = next(i for i, word in enumerate(words) if word.endswith(".o"))
        words.insert(first, str(mutated))
        done = subprocess.run(words, cwd=self.build, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Wrong(f"{self.name} does not link with {mutated.name}:\n{done.stderr[-2000:]}")

    def passes(self, program):
        try:
            return subprocess.run([program, *self.arguments], cwd=ROOT, env=self.environment, check=False,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  timeout=TIME_LIMIT_S).returncode == 0
        except subprocess.TimeoutExpired:
            return False


def compile_mutant(build, commands, mutant, folder):
    source = (ROOT / mutant.path).resolve()
    entry = next((c for c in commands if (build / c["file"]).resolve() == source), None)
    if entry is None:
        raise Wrong(f"{mutant.name}: {mutant.path} is not in the build")
    copy, output = folder / source.name, folder / (source.stem + ".o")
    copy.write_text(mutant.text())
    words = shlex.split(entry["command"])
    words[words.index("-o") + 1] = str(output)
    words = [str(copy) if (build / word).resolve() == source else word for word in words]
    for flag in ("-MQ", "-MF"):
        if flag in words:
            words[words.index(flag) + 1] = str(folder / "mutant.d")
    done = subprocess.run([*words, f"-I{source.parent}", "-Wno-error"], cwd=build, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Wrong(f"{mutant.name} does not compile:\n{done.stderr[-2000:]}")
    return output


def try_mutant(build, commands, programs, mutant):
    """Who notices it: {program: True, False, or None where the program does not contain the file}."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mutated = compile_mutant(build, commands, mutant, folder)
        noticed = {"test": None}
        if mutant.test:
            programs = [Program(build, "test", mutant.test, [], {"SUBPAY_ROOT": str(ROOT)})]
            if not programs[0].contains((ROOT / mutant.path).resolve()):
                raise Wrong(f"{mutant.name}: {mutant.test} does not contain {mutant.path}")
        for program in programs:
            noticed[program.name] = None
            if program.contains((ROOT / mutant.path).resolve()):
                output = folder / program.name
                program.link_with(mutated, output)
                noticed[program.name] = not program.passes(output)
        return noticed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="build folder, with tests")
    parser.add_argument("--seeds", default="300", help="simulated worlds for each mutant")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time")
    parser.add_argument("--only", action="append", help="names of mutants; all unless given")
    options = parser.parse_args()
    build = options.build.resolve()
    try:
        mutants = [m for m in read_table() if not options.only or m.name in options.only]
        commands = json.loads((build / "compile_commands.json").read_text())
        programs = [Program(build, "prove", "tests/sim/prove", ["--bound", "2"], {}),
                    Program(build, "rules", "tests/unit/test_rules", [], {"SUBPAY_ROOT": str(ROOT)}),
                    Program(build, "worlds", "tests/sim/worlds", ["--seeds", options.seeds], {})]
        for program in programs:
            if not program.passes(build / program.target):
                raise Wrong(f"{program.name} fails without a mutant")
        return run(build, commands, programs, mutants, options.jobs)
    except (Wrong, OSError) as wrong:
        print(f"mutants: {wrong}", file=sys.stderr)
        return 1


def run(build, commands, programs, mutants, jobs):
    marks = {True: "yes", False: "no", None: "-"}
    start, caught = time.monotonic(), 0
    names = [*(p.name for p in programs), "test"]
    print("| mutant | " + " | ".join(names) + " | what is wrong |")
    print("| --- |" + " --- |" * (len(names) + 1))
    with ThreadPoolExecutor(jobs) as pool:
        for mutant, noticed in zip(mutants, pool.map(lambda m: try_mutant(build, commands, programs, m), mutants)):
            found = any(noticed.values())
            caught += found
            cells = " | ".join(marks[noticed.get(name)] for name in names)
            print(f"| {mutant.name} | {cells} | {mutant.what}{'' if found else '  <-- NOT NOTICED'} |", flush=True)
    print(f"\nnoticed: {caught}/{len(mutants)} ({time.monotonic() - start:.0f} s)")
    return 0 if mutants and caught == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
