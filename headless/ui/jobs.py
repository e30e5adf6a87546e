"""Queued workflows, the one that runs, and those that are over.

One thread runs them one after another, as ComfyUI does, and tells the pages what happens. The runner keeps the
results of unchanged nodes from job to job.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...runtime.progress import LOSS_EVENT, Interrupted, listen
from ..runner import NodeError, Runner
from ..workflow import Workflow
from .hub import Hub

logger = logging.getLogger(__name__)

HISTORY_LENGTH = 200
PREVIEW_SIZE = 512

PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = "pending", "in_progress", "completed", "failed", "cancelled"
STATES = (PENDING, RUNNING, COMPLETED, FAILED, CANCELLED)


@dataclass(eq=False)
class Job:
    """One workflow on its way through the queue."""

    id: str
    number: float
    """Its place: lower numbers run first."""
    workflow: Workflow
    extra: Mapping[str, Any]
    """What came with it: `extra_pnginfo` holds the front end's own file."""
    targets: tuple[str, ...]
    client: str | None = None
    """The page that queued it."""
    created: int = field(default_factory=lambda: _now())
    state: str = PENDING
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each output node showed."""
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def queue_entry(self) -> list[Any]:
        """The job as `/queue` and `/history` list it."""
        return [
            self.number,
            self.id,
            self.workflow.prompt,
            {**self.extra, "create_time": self.created},
            list(self.targets),
        ]

    def history_entry(self) -> dict[str, Any]:
        """The finished job as `/history` tells it."""
        return {
            "prompt": self.queue_entry(),
            "outputs": self.outputs,
            "status": {
                "status_str": "success" if self.state == COMPLETED else "error",
                "completed": self.state == COMPLETED,
                "messages": self.messages,
            },
            "meta": {key: {"node_id": key, "display_node": key, "real_node_id": key} for key in self.outputs},
        }

    def record(self, whole: bool = False) -> dict[str, Any]:
        """The job as `/jobs` lists it, or, with `whole`, as `/jobs/<id>` tells it."""
        shown = [
            {**entry, "nodeId": key, "mediaType": "images"}
            for key, ui in self.outputs.items()
            for entry in ui.get("images") or []
        ]
        saved = [entry for entry in shown if entry.get("type") == "output"]
        times = {kind: data["timestamp"] for kind, data in self.messages}
        ends = [
            times[kind] for kind in ("execution_success", "execution_error", "execution_interrupted") if kind in times
        ]
        record: dict[str, Any] = {
            "id": self.id,
            "status": self.state,
            "priority": self.number,
            "create_time": self.created,
            "execution_start_time": times.get("execution_start"),
            "execution_end_time": ends[0] if ends else None,
            "execution_error": next((data for kind, data in self.messages if kind == "execution_error"), None),
            "outputs_count": len(shown),
            "previewable_outputs_count": len(shown),
            "preview_output": next(iter(saved or shown), None),
            "workflow_id": ((self.extra.get("extra_pnginfo") or {}).get("workflow") or {}).get("id"),
        }
        record = {name: value for name, value in record.items() if value is not None}
        if whole and self.state not in (PENDING, RUNNING):
            entry = self.history_entry()
            record["outputs"] = self.outputs
            record["execution_status"] = entry["status"]
            record["workflow"] = {"prompt": self.workflow.prompt, "extra_data": entry["prompt"][3]}
        return record


class JobQueue:
    """Runs jobs in a thread of its own. Every method may be called from any thread."""

    def __init__(self, runner: Runner, hub: Hub) -> None:
        self._runner = runner
        self._hub = hub
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._running: Job | None = None
        self._over: dict[str, Job] = {}
        self._interrupt = threading.Event()
        self._forget = self._stopping = False
        # The thread sees the folders and the device of whoever made the queue.
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._work,), name="facestylist-ui", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 20.0) -> None:
        """Cancels everything and waits until the running node has noticed."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            self._interrupt.set()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def submit(self, job: Job) -> None:
        with self._changed:
            self._waiting.append(job)
            self._waiting.sort(key=lambda waiting: waiting.number)
            self._changed.notify_all()
        self._tell_status()

    def interrupt(self, job_id: str | None = None) -> bool:
        """Cancels the running job, or only if it is the given one; whether it was."""
        with self._changed:
            if self._running is None or (job_id is not None and self._running.id != job_id):
                return False
            self._interrupt.set()
            return True

    def cancel(self, job_id: str) -> bool:
        """Takes a job out of the queue, or cancels it if it runs; whether there was one."""
        return bool(self.remove([job_id])) or self.interrupt(job_id)

    def remove(self, job_ids: Iterable[str] | None) -> int:
        """Takes jobs (all: None) out of the queue before they run; how many."""
        with self._changed:
            ids = None if job_ids is None else set(job_ids)
            before = len(self._waiting)
            self._waiting = [job for job in self._waiting if ids is not None and job.id not in ids]
            removed = before - len(self._waiting)
        self._tell_status()
        return removed

    def forget_history(self, job_ids: Iterable[str] | None) -> None:
        """Drops finished jobs (all: None) from the list; their pictures stay."""
        with self._changed:
            for job_id in list(self._over) if job_ids is None else list(job_ids):
                self._over.pop(job_id, None)

    def free_memory(self) -> None:
        """Forgets the results that are kept for unchanged nodes, before the next job or now if none runs."""
        with self._changed:
            self._forget = True
            self._changed.notify_all()

    def waiting(self) -> list[Job]:
        with self._changed:
            return list(self._waiting)

    def running(self) -> list[Job]:
        with self._changed:
            return [self._running] if self._running is not None else []

    def over(self) -> list[Job]:
        """Finished jobs, oldest first."""
        with self._changed:
            return list(self._over.values())

    def status(self) -> dict[str, Any]:
        with self._changed:
            return {"exec_info": {"queue_remaining": len(self._waiting) + (self._running is not None)}}

    def _tell_status(self) -> None:
        self._hub.send("status", {"status": self.status()})

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._stopping or self._forget):
                    self._changed.wait()
                if self._stopping:
                    return
                if self._forget:
                    self._forget = False
                    self._runner.forget()
                    continue
                job = self._running = self._waiting.pop(0)
                self._interrupt.clear()
            try:
                _Execution(job, self._runner, self._hub, self._interrupt).run()
            except Exception:
                # Nothing of ours may end the thread: the queue would stand still without a word.
                logger.exception("The job %s failed in an unforeseen way.", job.id)
                job.state = FAILED
            with self._changed:
                self._running = None
                self._over[job.id] = job
                while len(self._over) > HISTORY_LENGTH:
                    self._over.pop(next(iter(self._over)))
            self._tell_status()


class _Execution:
    """One job while it runs: the runner's observer and the nodes' watcher, turned into messages."""

    def __init__(self, job: Job, runner: Runner, hub: Hub, interrupt: threading.Event) -> None:
        self._job = job
        self._runner = runner
        self._hub = hub
        self._interrupt = interrupt
        self._node = ""
        self._progress: dict[str, dict[str, Any]] = {}
        self._done: list[str] = []

    def run(self) -> None:
        job, runner = self._job, self._runner
        job.state = RUNNING
        self._tell("execution_start")
        runner.on_node, runner.on_kept, runner.on_done = self._starts, self._kept, self._finished
        try:
            with listen(self):
                runner.run(job.workflow)
            job.state = COMPLETED
            self._tell("execution_success")
        except Interrupted:
            job.state = CANCELLED
            self._tell("execution_interrupted", everybody=True, **self._where())
        except NodeError as error:
            job.state = FAILED
            cause = error.__cause__ or error
            logger.warning("%s", error)
            self._tell(
                "execution_error",
                **self._where(),
                exception_message=error.said,
                exception_type=type(cause).__name__,
                traceback=traceback.format_exception(type(cause), cause, cause.__traceback__),
                current_inputs={},
                current_outputs=[],
            )
        finally:
            runner.on_node = runner.on_kept = runner.on_done = None
            self._hub.send("executing", {"node": None, "prompt_id": job.id}, job.client)

    def _tell(self, kind: str, everybody: bool = False, **data: Any) -> None:
        """A message that history keeps too."""
        data = {"prompt_id": self._job.id, **data, "timestamp": _now()}
        self._job.messages.append((kind, data))
        self._hub.send(kind, data, None if everybody else self._job.client)

    def _where(self) -> dict[str, Any]:
        node = self._job.workflow.prompt.get(self._node, {})
        return {"node_id": self._node, "node_type": node.get("class_type", ""), "executed": self._done}

    # What the runner tells.

    def _kept(self, keys: list[str]) -> None:
        self._tell("execution_cached", nodes=keys)

    def _starts(self, position: int, total: int, key: str, title: str) -> None:
        self._node = key
        self.check()
        self._hub.send("executing", {"node": key, "display_node": key, "prompt_id": self._job.id}, self._job.client)
        self._say_progress(key, 0, 1, "running")

    def _finished(self, key: str, ui: Mapping[str, Any]) -> None:
        self._done.append(key)
        known = self._progress.get(key)
        if known is not None:
            self._say_progress(key, known["max"], known["max"], "finished")
        if ui:
            self._job.outputs[key] = dict(ui)
            data = {"node": key, "display_node": key, "output": ui, "prompt_id": self._job.id}
            self._hub.send("executed", data, self._job.client)

    def _say_progress(self, key: str, step: float, total: float, state: str) -> None:
        self._progress[key] = {
            "value": step,
            "max": total,
            "state": state,
            "node_id": key,
            "prompt_id": self._job.id,
            "display_node_id": key,
            "parent_node_id": None,
            "real_node_id": key,
        }
        self._hub.send("progress_state", {"prompt_id": self._job.id, "nodes": self._progress}, self._job.client)

    # What the running node tells: the methods of `Watcher`.

    def progress(self, step: int, total: int) -> None:
        self.check()
        self._say_progress(self._node, step, total, "running")

    def preview(self, picture: Any) -> None:
        self.check()
        shown = picture.copy()
        shown.thumbnail((PREVIEW_SIZE, PREVIEW_SIZE))
        metadata = {
            "node_id": self._node,
            "prompt_id": self._job.id,
            "display_node_id": self._node,
            "parent_node_id": None,
            "real_node_id": self._node,
        }
        self._hub.send_preview(shown, metadata, self._job.client)

    def text(self, line: str) -> None:
        self._hub.send_text(self._node, line, self._job.client)

    def losses(self, report: Mapping[str, Any]) -> None:
        self._hub.send(LOSS_EVENT, {"node": self._node, **report}, self._job.client)

    def check(self) -> None:
        if self._interrupt.is_set():
            raise Interrupted("Cancelled.")


def _now() -> int:
    """Milliseconds since 1970, as the front end counts."""
    return int(time.time() * 1000)
