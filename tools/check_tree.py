#!/usr/bin/env python3
"""Checks what neither CMake nor the compiler sees: fences, banned calls, names, sizes, the map, links.

Usage: check_tree.py [ROOT]. Prints one line per problem, `path:line: [check] what; how to fix`, and
exits with 1 when there is any. Each check is one function with one planted fault in
test_check_tree.py. Standard library only, so that it runs before anything is installed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

CPP = (".cc", ".h")
SOURCES = (*CPP, ".py", ".pyi", ".cmake", ".sh", ".toml", ".md", ".txt", ".json", ".yaml")

# include prefix → where it may stand. Keeps heavy or foreign APIs behind one module's interface.
FENCES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("torch/", ("src/torch/",), "libtorch stays in src/torch"),
    ("ATen/", ("src/torch/",), "libtorch stays in src/torch"),
    ("c10/", ("src/torch/",), "libtorch stays in src/torch"),
    ("pybind11/", ("src/torch/",), "pybind11 is only for torch's own types, in src/torch"),
    ("nanobind/", ("python/bindings/",), "bindings stay in python/bindings"),
    ("Python.h", ("python/bindings/",), "bindings stay in python/bindings"),
    ("curl/", ("src/actions/",), "HTTP goes out through src/actions"),
    ("toml++/", ("src/core/config_toml.cc",), "configuration is read by wheeltapper/core/config.h"),
    ("pcre2.h", ("src/core/regex.cc",), "use wheeltapper/core/regex.h"),
    # Zip and Parquet carry the other CRC-32, zlib's.
    (
        "isa-l/",
        ("src/core/crc32c.cc", "src/cli/npz.cc", "src/format/parquet/page_codec.cc"),
        "use core/crc32c.h",
    ),
)


@dataclass(frozen=True)
class Ban:
    """A call that modules do not make, with the files that may."""

    pattern: re.Pattern[str]
    allowed: tuple[str, ...]
    fix: str


def _ban(pattern: str, allowed: tuple[str, ...], fix: str) -> Ban:
    return Ban(re.compile(pattern), allowed, fix)


BANS: tuple[Ban, ...] = (
    _ban(r"(?<![\w.>])(?:std::)?(?:v?f?printf|f?puts|putchar|perror)\s*\(|\bstd::(?:cout|cerr|clog)\b",
         ("src/cli/", "src/core/status.cc", "src/rules/reference_main.cc"),
         "libraries print nothing: return it, or use Log of wheeltapper/core/log.h"),
    _ban(r"(?<![\w.>])(?:std::)?(?:abort|terminate)\s*\(\s*\)"
         r"|(?:^|[;{})]|\b(?:else|return|do)\b)\s*(?:std::|::)?(?:quick_)?exit\s*\(\s*[^)\s]",
         ("src/core/status.cc", "src/cli/main.cc"), "return a Status; only the CLI's main ends the process"),
    _ban(r"(?<![\w.>])_exit\s*\(", ("src/supervisor/", "src/rules/", "src/actions/"),
         "_exit is for a forked child between fork and exec only"),
    _ban(r"\bstd::j?thread\b(?!::)|\bpthread_create\b",
         ("src/core/thread.cc", "src/core/include/wheeltapper/core/thread.h"), "start threads with core/thread.h"),
    _ban(r"(?:\.|->)detach\s*\(\s*\)|\bpthread_detach\b", (), "every thread has an owner that joins it"),
    _ban(r"::now\s*\(|\bclock_gettime\s*\(|\bgettimeofday\s*\(|(?<![\w.>])(?:std::)?time\s*\(\s*(?:nullptr|NULL|0)\s*\)",
         ("src/core/clock.cc",), "take a Clock (wheeltapper/core/clock.h)"),
    _ban(r"\b(?:secure_)?getenv\s*\(|\b(?:un)?setenv\s*\(|\bputenv\s*\(", ("src/core/env.cc",),
         "read the environment through wheeltapper/core/env.h"),
    _ban(r"\bstd::(?:w|c|s)?regex|#\s*include\s*<regex>", (), "use wheeltapper/core/regex.h"),
    _ban(r"\bstd::(?:recursive_|shared_|timed_)*mutex\b|\bstd::condition_variable|\bpthread_mutex_",
         ("src/core/include/wheeltapper/core/mutex.h",), "use Mutex and CondVar of wheeltapper/core/mutex.h"),
)  # fmt: skip
# test → why it may sleep.
SLEEPERS = {
    "src/capture/test/kill_test.cc": "kills a real process at moments chosen in real time",
    "src/capture/test/session_disk_test.cc": "imitates a disk that hangs",
}
SCRATCH = re.compile(r"\btemp_directory_path\b|\bTempDir\s*\(|\bmk[ds]temp\s*\(|\btmpfile\s*\(|\btmpnam\b")
SLEEP = re.compile(r"\bsleep_(?:for|until)\s*\(|(?<![\w.>])u?sleep\s*\(|\bnanosleep\s*\(")

VAGUE = {"util", "utils", "common", "helper", "helpers", "misc", "manager", "managers", "stuff"}
VAGUE_TYPE = re.compile(r"\b(?:class|struct)\s+(?:WT_\w+(?:\([^)]*\))?\s+)?(\w+(?:Manager|Utils?|Helpers?))\b")

LIMITS = {".cc": 500, ".h": 300, ".py": 400}
TEST_LIMIT = 800
# path → (limit, reason). A reason says why the file is better whole.
LONGER: dict[str, tuple[int, str]] = {}

UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b(?!\(#\d+\))")
MACHINE_PATH = re.compile(r"(?<![\w.}])/(?:wo" + r"rk/(?:main|shared|venv|brief)|ro" + r"ot/)")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")


@dataclass(frozen=True)
class Problem:
    """One line of the output."""

    path: str
    line: int
    check: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: [{self.check}] {self.text}"


@dataclass(frozen=True)
class Module:
    """One wheeltapper_module() call."""

    name: str
    layer: int
    deps: tuple[str, ...]
    private_deps: tuple[str, ...]


@dataclass
class Tree:
    """The files under check, read once."""

    root: Path
    files: list[str]
    modules: dict[str, Module] = field(default_factory=dict)
    _text: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, root: Path) -> Tree:
        """Lists tracked and not yet tracked files; without git, all but build outputs."""
        if (root / ".git").exists():
            listed = subprocess.run(
                ["git", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"],
                check=True, capture_output=True, text=True,
            ).stdout.split("\0")  # fmt: skip
        else:
            skip = {"build", "dist", ".wt", "__pycache__"}
            listed = [
                str(path.relative_to(root)) for path in root.rglob("*") if not skip & set(path.relative_to(root).parts)
            ]
        tree = cls(root, sorted({name for name in listed if name and (root / name).is_file()}))
        for name in tree.of(prefix="src/", suffix="/CMakeLists.txt"):
            module = parse_module(tree.text(name))
            if module is not None:
                tree.modules[module.name] = module
        return tree

    def text(self, path: str) -> str:
        """The file's text; bytes that are no UTF-8 are replaced."""
        if path not in self._text:
            self._text[path] = (self.root / path).read_bytes().decode("utf-8", "replace")
        return self._text[path]

    def of(self, prefix: str = "", suffix: str | tuple[str, ...] = "") -> Iterator[str]:
        """Files by prefix and suffix."""
        return (f for f in self.files if f.startswith(prefix) and f.endswith(suffix))

    def code(self, path: str) -> Iterator[tuple[int, str]]:
        """Numbered lines of a C++ file without comments and the content of strings."""
        key = path + "\0code"
        if key not in self._text:
            self._text[key] = without_comments(self.text(path))
        return enumerate(self._text[key].split("\n"), 1)


def parse_module(cmake: str) -> Module | None:
    """Reads name, layer and dependencies of a wheeltapper_module() call."""
    found = re.search(r"wheeltapper_module\(\s*(\w+)([^)]*)\)", re.sub(r"#.*", "", cmake))
    if not found:
        return None
    lists: dict[str, list[str]] = {}
    current = ""
    for word in found.group(2).split():
        if re.fullmatch(r"[A-Z_]+", word):
            current = word
        else:
            lists.setdefault(current, []).append(word)
    layer = lists.get("LAYER", ["-1"])[0]
    return Module(found.group(1), int(layer), tuple(lists.get("DEPS", ())), tuple(lists.get("PRIVATE_DEPS", ())))


_SKIPPED = re.compile(
    r"//[^\n]*|/\*.*?\*/|R\"(?P<tag>[^(\s\"]{0,16})\(.*?\)(?P=tag)\"|\"(?:\\.|[^\"\\\n])*\"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'",
    re.DOTALL,
)


def without_comments(text: str) -> str:
    """Blanks comments and the inside of literals, keeping line numbers and #include lines."""

    def blank(match: re.Match[str]) -> str:
        whole = match.group(0)
        line_start = text.rfind("\n", 0, match.start()) + 1
        if whole[0] == '"' and re.match(r"\s*#\s*include", text[line_start : match.start()]):
            return whole
        return ('""' if whole[0] in "\"'R" else " ") + "\n" * whole.count("\n")

    return _SKIPPED.sub(blank, text)


def is_test(path: str) -> bool:
    """True for tests, fuzzers, benchmarks and what is exported for them."""
    return bool({"test", "tests", "fuzz", "bench", "testing"} & set(PurePosixPath(path).parts[:-1])) or (
        PurePosixPath(path).name.startswith("test_")
    )


def check_fences(tree: Tree) -> Iterator[Problem]:
    """Third-party includes stay where they belong; a JSON library never stands in a header."""
    cli11: list[tuple[str, int]] = []
    for path in tree.of(suffix=CPP):
        for number, line in tree.code(path):
            found = INCLUDE.match(line)
            if not found:
                continue
            header = found.group(1)
            for prefix, allowed, why in FENCES:
                if header.startswith(prefix) and not path.startswith(allowed):
                    yield Problem(path, number, "fence", f"<{header}> is not allowed here: {why}")
            if header == "nlohmann/json.hpp" and path.endswith(".h"):
                yield Problem(path, number, "fence", "<nlohmann/json.hpp> costs 7 s per includer: keep it in a .cc")
            if header.startswith("CLI/"):
                cli11.append((path, number))
    if len({path for path, _ in cli11 if path.startswith("src/cli/")}) > 1 or any(
        not path.startswith("src/cli/") for path, _ in cli11
    ):
        for path, number in cli11:
            yield Problem(path, number, "fence", "CLI11 costs 18 s per includer: one file of src/cli includes it")


def check_calls(tree: Tree) -> Iterator[Problem]:
    """Calls that a module leaves to core or to the CLI."""
    for path in tree.of(prefix="src/", suffix=CPP):
        if is_test(path):
            continue
        for number, line in tree.code(path):
            for ban in BANS:
                found = ban.pattern.search(line)
                if found and not path.startswith(ban.allowed or ("\0",)):
                    yield Problem(path, number, "banned call", f"`{found.group(0).strip()}`: {ban.fix}")


def check_sleeps(tree: Tree) -> Iterator[Problem]:
    """C++ tests advance a ManualClock."""
    for path in tree.of(suffix=CPP):
        if not is_test(path) or path in SLEEPERS:
            continue
        for number, line in tree.code(path):
            if SLEEP.search(line):
                yield Problem(path, number, "sleep", "tests advance a ManualClock or wait on a condition")


def check_scratch(tree: Tree) -> Iterator[Problem]:
    """C++ tests leave nothing behind: what they write goes into a ScratchFolder."""
    for path in tree.of(suffix=CPP):
        if not is_test(path) or path == "tests/support/scratch_folder.h":
            continue
        for number, line in tree.code(path):
            if SCRATCH.search(line):
                yield Problem(path, number, "scratch", "write into a ScratchFolder (tests/support/scratch_folder.h)")


def check_names(tree: Tree) -> Iterator[Problem]:
    """Names that say nothing attract everything."""
    folders: set[str] = set()
    for path in tree.files:
        pure = PurePosixPath(path)
        folders.update(str(parent) for parent in pure.parents)
        if pure.suffix in (*CPP, ".py") and VAGUE & set(re.split(r"[_\-.]", pure.stem.lower())):
            yield Problem(path, 1, "vague name", "name the file after what it holds")
    for folder in sorted(folders):
        if PurePosixPath(folder).name.lower() in VAGUE:
            yield Problem(folder, 1, "vague name", "name the folder after what it holds")
    for path in tree.of(suffix=CPP):
        for number, line in tree.code(path):
            found = VAGUE_TYPE.search(line)
            if found:
                yield Problem(path, number, "vague name", f"`{found.group(1)}`: name the type after what it does")


def check_length(tree: Tree) -> Iterator[Problem]:
    """Files stay readable in one sitting."""
    for path in tree.of(suffix=tuple(LIMITS)):
        limit = TEST_LIMIT if is_test(path) else LIMITS[PurePosixPath(path).suffix]
        limit = LONGER.get(path, (limit, ""))[0]
        lines = tree.text(path).count("\n")
        if lines > limit:
            yield Problem(path, lines, "length", f"{lines} lines, the limit is {limit}: split it")
    for path, (_, reason) in LONGER.items():
        if path not in tree.files or not reason:
            yield Problem(path, 1, "length", "remove the exception: the file is gone or no reason is given")


def check_unfinished(tree: Tree) -> Iterator[Problem]:
    """A mark of unfinished work names its issue."""
    for path in tree.of(suffix=SOURCES):
        for number, line in enumerate(tree.text(path).split("\n"), 1):
            found = UNFINISHED.search(line)
            if found:
                yield Problem(path, number, "unfinished", f"finish it, or write {found.group(0)}(#<issue>)")


def check_includes(tree: Tree) -> Iterator[Problem]:
    """A module includes only what its CMakeLists.txt declares; what a dependency pulls in does not count."""
    for name, module in tree.modules.items():
        public = {name, *module.deps}
        for path in tree.of(prefix=f"src/{name}/", suffix=CPP):
            in_interface = path.startswith(f"src/{name}/include/")
            for number, line in tree.code(path):
                found = re.match(r'\s*#\s*include\s*"wheeltapper/(\w+)/', line)
                if not found or found.group(1) in public:
                    continue
                wanted = found.group(1)
                if in_interface:
                    yield Problem(path, number, "include", f"an interface header includes {wanted}: add it to DEPS")
                elif wanted not in module.private_deps:
                    yield Problem(
                        path, number, "include", f"{wanted} is not declared: add it to PRIVATE_DEPS (or DEPS)"
                    )


def module_row(module: Module) -> str:
    """The row of a module in ARCHITECTURE.md, up to its description."""
    deps = ", ".join(dict.fromkeys([*module.deps, *module.private_deps])) or "–"
    return f"| {module.layer} | [{module.name}](src/{module.name}/README.md) | {deps} |"


def check_architecture(tree: Tree) -> Iterator[Problem]:
    """The module table of ARCHITECTURE.md says what CMake says, and each module has a README."""
    path = "ARCHITECTURE.md"
    if path not in tree.files:
        yield Problem(path, 1, "architecture", "the file is missing")
        return
    rows: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(tree.text(path).split("\n"), 1):
        found = re.match(r"\| \d+ \| \[(\w+)\]\(src/\w+/README\.md\) \| [^|]+ \|", line)
        if found:
            rows[found.group(1)] = (number, found.group(0))
    for name, module in tree.modules.items():
        if name not in rows:
            yield Problem(path, 1, "architecture", f"module {name} is missing: add a row {module_row(module)}")
        elif rows[name][1] != module_row(module):
            yield Problem(path, rows[name][0], "architecture", f"row is out of date: should be {module_row(module)}")
        if f"src/{name}/README.md" not in tree.files:
            yield Problem(f"src/{name}/README.md", 1, "architecture", "the module has no README")
    for name in rows.keys() - tree.modules.keys():
        yield Problem(path, rows[name][0], "architecture", f"module {name} is gone: remove its row")


def check_links(tree: Tree) -> Iterator[Problem]:
    """Relative links in Markdown lead somewhere."""
    for path in tree.of(suffix=".md"):
        in_code = False
        for number, line in enumerate(tree.text(path).split("\n"), 1):
            in_code ^= line.lstrip().startswith("```")
            if in_code:
                continue
            for target in LINK.findall(re.sub(r"`[^`]*`", "", line)):
                if re.match(r"[a-z]+:|#|<", target):
                    continue
                name, _, anchor = target.partition("#")
                file = (tree.root / path).parent / name
                if not file.exists():
                    yield Problem(path, number, "link", f"{target} does not exist")
                elif re.fullmatch(r"L\d+", anchor) and int(anchor[1:]) > file.read_text().count("\n"):
                    yield Problem(path, number, "link", f"{target}: the file is shorter")


def check_paths(tree: Tree) -> Iterator[Problem]:
    """Nothing names a place on the machine it was written on."""
    for path in tree.files:
        if PurePosixPath(path).suffix in (*SOURCES, "") and (tree.root / path).stat().st_size < 1 << 20:
            for number, line in enumerate(tree.text(path).split("\n"), 1):
                if MACHINE_PATH.search(line):
                    yield Problem(path, number, "machine path", "make it relative or configurable")


CHECKS: tuple[Callable[[Tree], Iterator[Problem]], ...] = (
    check_fences, check_calls, check_sleeps, check_scratch, check_names, check_length, check_unfinished,
    check_includes, check_architecture, check_links, check_paths,
)  # fmt: skip


def main(argv: list[str]) -> int:
    """Runs every check over the tree."""
    root = Path(argv[1]) if len(argv) > 1 else Path(__file__).resolve().parent.parent
    tree = Tree.load(root.resolve())
    problems = [problem for check in CHECKS for problem in check(tree)]
    for problem in problems:
        print(problem)
    print(
        f"check_tree: {len(tree.files)} files, {len(CHECKS)} checks, {len(problems)} problems",
        file=sys.stderr,
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
