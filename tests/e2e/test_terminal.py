"""`wheeltapper run` under a shell with job control: to the shell, it behaves as the command would."""

from __future__ import annotations

import contextlib
import errno
import os
import pty
import re
import select
import shlex
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

LIMIT_S = 60.0
WATCH = "wheeltapper run -q --no-report --"


def stat_fields(pid: int) -> list[str]:
    """State, parent, process group, session, …; nothing when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < give_up, "the condition did not come true in time"
        time.sleep(0.02)


def is_stopped(pid: int) -> bool:
    return stat_fields(pid)[:1] == ["T"]


class Terminal:
    """A pseudo-terminal without echo, and the program that leads its session."""

    def __init__(self, argv: list[str], cwd: Path) -> None:
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            settings = termios.tcgetattr(0)
            settings[3] &= ~termios.ECHO
            termios.tcsetattr(0, termios.TCSANOW, settings)
            os.chdir(cwd)
            os.execvpe(argv[0], argv, {**os.environ, "PS1": "> ", "TERM": "dumb", "HISTFILE": "/dev/null"})
        self._unread = ""
        self._all = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def expect(self, pattern: str) -> re.Match[str]:
        """Waits for output that matches and takes it, and what was before it."""
        give_up = time.monotonic() + LIMIT_S
        while (found := re.search(pattern, self._unread)) is None:
            left = give_up - time.monotonic()
            assert left > 0, f"no {pattern!r} in time, but: {self._all!r}"
            if select.select([self._master], [], [], left)[0]:
                piece = self._read()
                self._unread += piece
                self._all += piece
                assert piece, f"{self.pid} left the terminal before {pattern!r}, {self.end()}, after: {self._all!r}"
        self._unread = self._unread[found.end() :]
        return found

    def _read(self) -> str:
        """What there is to read; nothing once everybody has left the terminal."""
        try:
            return os.read(self._master, 4096).decode(errors="replace")
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return ""

    def end(self) -> str:
        """How the session's leader ended, left for close() to reap."""
        give_up = time.monotonic() + LIMIT_S
        while (ended := os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)) is None:
            if time.monotonic() > give_up:
                return "which goes on"
            time.sleep(0.02)
        how = "killed by signal" if ended.si_code == os.CLD_KILLED else "ended with"
        return f"{how} {ended.si_status}"

    def close(self) -> None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and stat_fields(int(entry.name))[3:4] == [str(self.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(entry.name), signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._master)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(["bash", "--norc", "--noprofile", "--noediting", "-i"], tmp_path)
    yield terminal
    terminal.close()


def script(folder: Path, text: str) -> str:
    """The command that runs `text` in Python."""
    path = folder / "script.py"
    path.write_text(text)
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(path))}"


def wait_until_listed_as(shell: Terminal, state: str) -> None:
    """Asks for the shell's jobs until its only one is in `state`."""

    def listed() -> bool:
        shell.type("jobs\n")
        return shell.expect(r"Running|Stopped|Done|Terminated|Exit \d+")[0] == state

    wait_until(listed)


ASKS = "print('a', 'sks', sep='', flush=True)\nprint('got', input())\n"


@pytest.mark.parametrize("watch", [WATCH, f"{WATCH} {WATCH}"], ids=["one watcher", "a watched watcher"])
def test_a_background_command_that_reads_stops_and_reads_after_fg(shell: Terminal, tmp_path: Path, watch: str) -> None:
    shell.type(f"{watch} {script(tmp_path, ASKS)} &\n")
    shell.expect("asks")
    wait_until_listed_as(shell, "Stopped")
    shell.type("fg\n")
    shell.type("some words\n")
    shell.expect("got some words")
    shell.type("echo code=$?\n")
    shell.expect("code=0")


def test_a_command_that_reads_after_control_z_and_bg_stops_again(shell: Terminal, tmp_path: Path) -> None:
    go = tmp_path / "go"
    text = f"import os, time\nprint('pid', os.getpid(), flush=True)\nwhile not os.path.exists({str(go)!r}):\n"
    shell.type(f"{WATCH} {script(tmp_path, text + '    time.sleep(0.02)' + chr(10) + ASKS)}\n")
    pid = int(shell.expect(r"pid (\d+)")[1])
    shell.type("\x1a")
    shell.expect("Stopped")
    shell.type("bg\n")
    wait_until(lambda: not is_stopped(pid))
    go.touch()
    shell.expect("asks")
    wait_until_listed_as(shell, "Stopped")
    shell.type("fg\n")
    shell.type("more words\n")
    shell.expect("got more words")


def test_a_stopped_command_can_be_ended(shell: Terminal, tmp_path: Path) -> None:
    shell.type(f"{WATCH} {script(tmp_path, ASKS)} &\n")
    shell.expect("asks")
    wait_until_listed_as(shell, "Stopped")
    shell.type("kill %1\n")
    wait_until_listed_as(shell, "Exit 143")


@pytest.mark.parametrize("stdin", ["", "< /dev/null"], ids=["the terminal", "a file"])
def test_a_foreground_command_gets_the_terminal_by_its_name(shell: Terminal, tmp_path: Path, stdin: str) -> None:
    asks = "import getpass\nprint('length', len(getpass.getpass('the word? ')))\n"
    shell.type(f"{WATCH} {script(tmp_path, asks)} {stdin}\n")
    shell.expect(r"the word\?")
    shell.type("12345\n")
    shell.expect("length 5")
    shell.type("echo code=$?\n")
    shell.expect("code=0")


@pytest.mark.parametrize(
    "line",
    ["{}", "{} | cat", "{} < /dev/null", "cat /dev/null | {} | cat", "sh around.sh"],
    ids=["alone", "in front of a pipe", "from a file", "between pipes", "in a script"],
)
def test_one_control_z_stops_all_of_it_and_fg_continues_it(shell: Terminal, tmp_path: Path, line: str) -> None:
    go = tmp_path / "go"
    command = f"{WATCH} " + script(
        tmp_path,
        f"import os, time\nprint('pid', os.getpid(), flush=True)\nwhile not os.path.exists({str(go)!r}):\n"
        "    time.sleep(0.02)\nprint('fini', 'shed', sep='')\n",
    )
    (tmp_path / "around.sh").write_text(f"{command}\necho after it\n")
    shell.type(line.format(command) + "\n")
    pid = int(shell.expect(r"pid (\d+)")[1])
    shell.type("\x1a")
    shell.expect("Stopped")
    shell.type("echo back=$((40 + 2))\n")
    shell.expect("back=42")
    assert is_stopped(pid)
    shell.type("fg\n")
    go.touch()
    shell.expect("finished")
    shell.type("echo code=$?\n")
    shell.expect("code=0")


@pytest.mark.parametrize("stdin", ["", "< /dev/null"], ids=["the terminal", "a file"])
def test_control_c_reaches_the_commands_children_too(shell: Terminal, tmp_path: Path, stdin: str) -> None:
    text = (
        "import os, signal, time\n"
        "ready, told = os.pipe()\n"
        "child = os.fork()\n"
        "try:\n"
        "    if child == 0:\n"
        "        os.write(told, b'.')\n"
        "    else:\n"
        "        os.read(ready, 1)\n"
        "        print('both', 'ready', sep='-', flush=True)\n"
        "    while True:\n"
        "        time.sleep(0.02)\n"
        "except KeyboardInterrupt:\n"
        "    if child == 0:\n"
        "        os._exit(31)\n"
        "    print('child', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)\n"
    )
    shell.type(f"{WATCH} {script(tmp_path, text)} {stdin}\n")
    shell.expect("both-ready")
    shell.type("\x03")
    shell.expect("child 31")


def test_a_pager_behind_the_command_can_use_the_terminal(shell: Terminal, tmp_path: Path) -> None:
    pager = tmp_path / "pager.py"
    pager.write_text("import sys\nprint(sys.stdin.readline())\nprint('key', open('/dev/tty').readline(), flush=True)\n")
    text = "import time\nprint('pa', 'ge', sep='', flush=True)\ntime.sleep(600)\n"
    shell.type(f"{WATCH} {script(tmp_path, text)} | {shlex.quote(sys.executable)} {shlex.quote(str(pager))}\n")
    shell.type("down\n")
    shell.expect("key down")


NO_SHELL = {
    "alone": f"exec {WATCH} {{}}",
    "in a script": f"{WATCH} {{}}; echo code=$?; read rest",
}


@pytest.mark.parametrize("line", NO_SHELL.values(), ids=NO_SHELL)
def test_control_z_where_no_shell_could_continue_it_does_nothing(tmp_path: Path, line: str) -> None:
    text = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGCONT, lambda *_: os.write(1, b'continued\\n'))\n"  # print() can be interrupted
        "try:\n"
        "    print('ready', flush=True)\n"  # both signals can come before it returns
        "    while True:\n"
        "        time.sleep(0.02)\n"  # a long sleep can begin just after the signal
        "except KeyboardInterrupt:\n"
        "    open('interrupted', 'x').close()\n"
        "    raise\n"
    )
    terminal = Terminal(["sh", "-c", line.format(script(tmp_path, text))], tmp_path)
    try:
        terminal.expect("ready")
        terminal.type("\x1a")
        terminal.expect("continued")
        terminal.type("\x03")
        if line == NO_SHELL["alone"]:  # what it wrote last may go with the terminal
            assert terminal.end() == "ended with 130"
        else:
            terminal.expect("KeyboardInterrupt")
            terminal.expect("code=130")
        assert (tmp_path / "interrupted").exists()
    finally:
        terminal.close()
