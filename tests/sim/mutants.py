#!/usr/bin/env python3
"""Does a test notice each mutant of tests/sim/mutants.txt? Prints the table; exit 1 when one is not noticed.

Every mutant is a copy of one source file with one text exchanged. It is compiled with the very command of the build and
linked before the room's library into the programs that contain the file: `rules` (the tables of tests/rules), the one test
that the table of mutants names, where none of the others can see it, or only by chance, `prove` (every case of a small
world), `worlds` (simulated worlds). The first one that notices is enough; --all asks each of them. Needs a build with
tests: make build.
"""
import argparse
import json
import os
import re
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
COLUMNS = ["rules", "test", "prove", "worlds"]  # in the order of what they cost
RULES = [*map(str, range(1, 12)), "moves"]  # of docs/rules


class Wrong(Exception):
    """The table or the build is not as it should be."""


class Mutant:
    def __init__(self, name, what):
        self.name, self.what, self.rule, self.path, self.test = name, what, "", None, None
        self.old, self.new = [], []

    def text(self):
        source = (ROOT / self.path).read_text()
        # However deep it is indented.
        old = "\n".join(re.sub(r"^(\\ )+", "^[ ]+", re.escape(line)) for line in self.old)
        found = re.findall(old, source, re.MULTILINE)
        if len(found) != 1:
            raise Wrong(f"{self.name}: the text is {len(found)} times in {self.path}:\n" + "\n".join(self.old))
        return source.replace(found[0], "\n".join(self.new))


def read_table():
    mutants = []
    for number, line in enumerate(TABLE.read_text().split("\n"), 1):
        word, _, rest = line.partition(" ")
        if line == "" or word == "#":
            continue
        if word == "mutant" and ": " in rest:
            mutants.append(Mutant(*rest.split(": ", 1)))
        elif word == "rule" and mutants and rest in RULES:
            mutants[-1].rule = rest
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
    without = [rule for rule in RULES if rule not in {m.rule for m in mutants}]
    if without:
        raise Wrong(f"no mutant of rule {', '.join(without)}")
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


def test_program(build, mutant):
    return Program(build, "test", mutant.test, [], {"SUBPAY_ROOT": str(ROOT), "SUBPAY_BUILD": str(build)})


def try_mutant(build, commands, programs, mutant, ask_all):
    """Who notices it: {program: True or False}, of those that contain the file and were asked."""
    source, noticed = (ROOT / mutant.path).resolve(), {}
    with tempfile.TemporaryDirectory() as name:
        mutated = compile_mutant(build, commands, mutant, Path(name))
        if mutant.test:
            programs = [*programs, test_program(build, mutant)]
            if not programs[-1].contains(source):
                raise Wrong(f"{mutant.name}: {mutant.test} does not contain {mutant.path}")
        for program in sorted(programs, key=lambda p: COLUMNS.index(p.name)):
            if program.contains(source) and (ask_all or not any(noticed.values())):
                output = Path(name) / program.name
                program.link_with(mutated, output)
                noticed[program.name] = not program.passes(output)
        return noticed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="build folder, with tests")
    parser.add_argument("--seeds", default="300", help="simulated worlds for each mutant, at most: the first that fails is enough")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time")
    parser.add_argument("--all", action="store_true", help="ask every program, also when one has noticed")
    parser.add_argument("--only", action="append", help="names of mutants; all unless given")
    options = parser.parse_args()
    build = options.build.resolve()
    try:
        mutants = [m for m in read_table() if not options.only or m.name in options.only]
        if options.only and len(mutants) != len(set(options.only)):
            raise Wrong(f"--only {' '.join(options.only)}: not all are names of mutants")
        commands = json.loads((build / "compile_commands.json").read_text())
        programs = [Program(build, "rules", "tests/unit/test_rules", [], {"SUBPAY_ROOT": str(ROOT)}),
                    Program(build, "prove", "tests/sim/prove", ["--bound", "2"], {}),
                    Program(build, "worlds", "tests/sim/worlds", ["--seeds", options.seeds, "--failures", "1"], {})]
        tests = {m.test: test_program(build, m) for m in mutants if m.test}
        targets = sorted({program.target for program in [*programs, *tests.values()]})
        if subprocess.run(["ninja", "-C", build, "-n", *targets], capture_output=True, check=True,
                          text=True).stdout.find("no work to do") < 0:
            raise Wrong(f"{build} is not what the sources are: build first (make build)")
        for program in [*programs, *tests.values()]:
            if not program.passes(build / program.target):
                raise Wrong(f"{program.target} fails without a mutant")
        return run(build, commands, programs, mutants, options)
    except (Wrong, OSError) as wrong:
        print(f"mutants: {wrong}", file=sys.stderr)
        return 1


def run(build, commands, programs, mutants, options):
    marks = {True: "yes", False: "no", None: ""}
    start, caught, rules = time.monotonic(), 0, {}
    print("| rule | mutant | " + " | ".join(COLUMNS) + " | what is wrong |")
    print("| --- |" + " --- |" * (len(COLUMNS) + 2))
    with ThreadPoolExecutor(options.jobs) as pool:
        tried = pool.map(lambda m: try_mutant(build, commands, programs, m, options.all), mutants)
        for mutant, noticed in zip(mutants, tried):
            found = any(noticed.values())
            caught += found
            rules[mutant.rule] = rules.get(mutant.rule, 0) + 1
            cells = " | ".join(marks[noticed.get(name)] for name in COLUMNS)
            print(f"| {mutant.rule} | {mutant.name} | {cells} | {mutant.what}{'' if found else '  <-- NOT NOTICED'} |",
                  flush=True)
    print("\nof each rule: " + ", ".join(f"{rule or 'none'} {rules[rule]}" for rule in [*RULES, ""] if rule in rules))
    print(f"{caught} of {len(mutants)} noticed ({time.monotonic() - start:.0f} s)")
    return 0 if mutants and caught == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
