"""deploy/Dockerfile and .dockerignore as data, and the lines of the build stage as they run there."""
import fnmatch
import os
import re
import shutil
import subprocess

from process import ROOT


class Stage:
    def __init__(self, image, name):
        self.image, self.name, self.steps = image, name, []

    def all(self, instruction):
        return [text for kind, text in self.steps if kind == instruction]

    @property
    def packages(self):
        """What apt-get installs."""
        installs = re.findall(r"apt-get install ([^&]*)", " && ".join(self.all("RUN")))
        return [word for words in installs for word in words.split() if not word.startswith("-")]


def stages():
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "deploy/Dockerfile").read_text(), flags=re.M)
    made = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        kind, _, rest = line.strip().partition(" ")
        if kind == "FROM":
            words = rest.split()
            made.append(Stage(words[0], words[2] if words[1:2] == ["AS"] else None))
        elif kind:
            made[-1].steps.append((kind, rest.strip()))
    return made


def context(folder):
    """What `COPY . .` brings: the project without what .dockerignore names."""
    patterns = (ROOT / ".dockerignore").read_text().split()

    def ignored(path, names):
        at_root = os.path.samefile(path, ROOT)
        return [name for name in names for pattern in patterns
                if (at_root or pattern.startswith("**/")) and fnmatch.fnmatch(name, pattern.removeprefix("**/"))]
    shutil.copytree(ROOT, folder, ignore=ignored)


def build(folder):
    """Runs what the build stage runs, but apt, with its folders below this one; returns what is copied from there."""
    build_stage, last = stages()
    context(folder / "context")
    places = {"/build": folder / "build", "/out": folder / "out"}

    def here(text):
        for there, place in places.items():
            text = re.sub(rf"(?<![\w/]){there}\b", str(place), text)
        return text
    for run in build_stage.all("RUN"):
        if "apt-get" not in run:
            done = subprocess.run(["/bin/sh", "-c", here(run)], cwd=folder / "context", capture_output=True, text=True,
                                  check=False)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    copied = re.fullmatch(rf"--from={build_stage.name} (\S+) (\S+)", last.all("COPY")[0])
    return here(copied.group(1))
