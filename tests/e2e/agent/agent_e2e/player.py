"""Plays a graph in a process of its own, pause by pause: `python player.py` beside a module `graph` on the path.

The test's half sends one JSON step a line and reads one JSON line back; the other half imports nothing but `graph`.
"""

import hashlib
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

LIMIT = 60.0


class Player:
    """The graph's process, as the test sees it.

    Args:
        graph: folder of `graph.py`.
        tools: folder of the `tools.py` it is given.
        environment: of the process.
    """

    def __init__(self, graph: Path, tools: Path, environment: dict[str, str]) -> None:
        path = os.pathsep.join((str(tools), str(graph)))
        # -P keeps this file's own folder off the path: what the graph imports is what it was given.
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            env={**environment, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._errors: list[str] = []
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_errors)]
        for reader in self._readers:
            reader.start()
        self.loaded = self._answer()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put("")

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            self._errors.extend(lines)

    def _answer(self) -> dict[str, Any]:
        line = self._lines.get(timeout=LIMIT)
        assert line, "".join(self._errors)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def play(self, **step: Any) -> dict[str, Any]:
        """Send a step, `start` with the state or `resume` with the answer; where the graph stands after it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(step) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """Let the process go."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
            raise
        finally:
            for reader in self._readers:
                reader.join(10)


def main() -> None:
    """The graph's half."""
    import graph
    import tools
    from langchain_core.callbacks import BaseCallbackHandler
    from langgraph.types import Command

    class Recorder(BaseCallbackHandler):
        """Every tool call with its arguments and its result, in order."""

        def __init__(self) -> None:
            self.calls: list[dict[str, Any]] = []
            self._at: dict[Any, int] = {}

        def on_tool_start(self, serialized: Any, input_str: str, *, run_id: Any, inputs: Any = None, **_: Any) -> None:
            self._at[run_id] = len(self.calls)
            self.calls.append({"tool": serialized["name"], "args": inputs})

        def on_tool_end(self, output: Any, *, run_id: Any, **_: Any) -> None:
            self.calls[self._at[run_id]]["result"] = output

    recorder, compiled = Recorder(), graph.build_graph()
    digest = hashlib.sha256(Path(str(graph.__file__)).read_bytes()).hexdigest()
    print(json.dumps({"graph": digest, "tools": tools.__file__}), flush=True)
    config: dict[str, Any] = {"callbacks": [recorder]}
    for line in sys.stdin:
        step = json.loads(line)
        if "start" in step:
            config["configurable"] = {"thread_id": step["start"]["session_id"]}
        compiled.invoke(step["start"] if "start" in step else Command(resume=step["resume"]), config)
        snapshot = compiled.get_state(config)
        paused = [interrupt.value for interrupt in snapshot.interrupts]
        print(json.dumps({"paused": paused, "state": snapshot.values, "calls": recorder.calls}), flush=True)


if __name__ == "__main__":
    main()
