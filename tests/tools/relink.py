"""How the build compiles a file and links a test, for tools that do the same with another copy of a file: its object
goes in front of the library, so the linker takes nothing of that file out of the library."""

import json
import os
import shlex
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Relink:
    """Commands of a build directory that is built; paths of sources are relative to the root."""

    def __init__(self, build):
        self.build = os.path.abspath(build)
        rows = json.load(open(os.path.join(self.build, "compile_commands.json")))
        self.command = {os.path.relpath(os.path.join(r["directory"], r["file"]), ROOT): r["command"] for r in rows}
        self.links = {}

    def compile(self, name, source, obj, *flags):
        """Arguments that compile `source` as the file `name` is compiled, to be run in the build directory."""
        args = shlex.split(self.command[name])
        for flag, drop in (("-o", 2), ("-MQ", 2), ("-MF", 2), ("-MD", 1), ("-g", 1)):
            at = args.index(flag)
            del args[at:at + drop]
        args[args.index("-c") + 1] = source
        return [*args, *flags, "-o", obj]

    def link(self, test, program, objs, *flags):
        if test not in self.links:
            out = subprocess.run(["ninja", "-C", self.build, "-t", "commands", f"tests/unit/{test}"],
                                 check=True, capture_output=True, text=True).stdout
            self.links[test] = shlex.split(out.strip().splitlines()[-1])
        args = list(self.links[test])
        args[args.index("-o") + 1] = program
        at = args.index("src/libemac.a")
        args[at:at] = objs
        return [*args, *flags]
