"""What the stand-in's server answers: queueing, watching, errors, files, and who may ask."""

from __future__ import annotations

import asyncio
import io
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="`facestylist ui` needs aiohttp: pip install aiohttp")

import aiohttp  # noqa: E402
from PIL import Image  # noqa: E402
from ui_bench import Page, Work, prompt  # noqa: E402

With = Callable[[Any], None]


def test_a_prompt_runs_and_the_page_sees_it(with_page: With) -> None:
    async def test(page: Page) -> None:
        await page.open()
        answer = await page.queue(prompt(3))
        done = await page.until("execution_success")
        assert done["prompt_id"] == answer["prompt_id"] and answer["node_errors"] == {}
        kinds = [kind for kind, _ in page.seen]
        for earlier, later in (
            ("execution_start", "execution_cached"),
            ("execution_cached", "executing"),
            ("executing", "executed"),
            ("executed", "execution_success"),
        ):
            assert kinds.index(earlier) < kinds.index(later)
        steps = [data["nodes"]["1"] for kind, data in page.seen if kind == "progress_state"]
        assert [(step["value"], step["max"], step["state"]) for step in steps[:2]] == [
            (0, 1, "running"),
            (2, 4, "running"),
        ]
        assert steps[-1]["state"] == "finished"

        text = await page.until(3)
        (length,) = struct.unpack(">I", text[:4])
        assert text[4 : 4 + length] == b"1" and text[4 + length :] == b"step 2 of 4  loss 0.5"
        preview = await page.until(4)
        (length,) = struct.unpack(">I", preview[:4])
        assert json.loads(preview[4 : 4 + length])["node_id"] == "1"
        with Image.open(io.BytesIO(preview[4 + length :])) as picture:
            assert picture.format == "JPEG" and picture.size == (8, 8)
        losses = [row for kind, data in page.seen if kind == "facestylist.losses" for row in data["rows"]]
        assert losses == [{"step": 2, "loss": 0.5}, {"step": 4, "loss": 0.25}]

        shown = await page.until("executed")
        entry = shown["output"]["images"][0]
        assert (entry["type"], entry["filename"]) == ("output", "made_00001_.png")
        picture = await page.client.get("/api/view", params=entry)
        assert picture.status == 200 and picture.content_type == "image/png"

        history = await page.get(f"/api/history/{answer['prompt_id']}")
        assert history[answer["prompt_id"]]["status"]["completed"]
        assert history[answer["prompt_id"]]["outputs"]["2"]["images"] == [entry]
        (job,) = (await page.get("/api/jobs?status=completed&limit=5&offset=0"))["jobs"]
        assert job["id"] == answer["prompt_id"] and job["preview_output"]["filename"] == entry["filename"]
        whole = await page.get(f"/api/jobs/{job['id']}")
        assert whole["workflow"]["prompt"] == prompt(3)

    with_page(test)


def test_a_page_without_flags_gets_plain_previews(with_page: With) -> None:
    async def test(page: Page) -> None:
        await page.open(features=False)
        await page.queue(prompt())
        preview = await page.until(1)
        assert struct.unpack(">I", preview[:4]) == (1,) and preview[4:6] == b"\xff\xd8"

    with_page(test)


def test_what_is_unchanged_does_not_run_again_but_is_shown(with_page: With) -> None:
    async def test(page: Page) -> None:
        await page.open()
        await page.queue(prompt(1))
        await page.until("execution_success")
        page.seen.clear()
        await page.queue(prompt(1))
        await page.until("execution_success")
        assert Work.calls == [1]
        assert (await page.until("execution_cached"))["nodes"] == ["1", "2"]
        assert (await page.until("executed"))["node"] == "2", "a kept picture is shown all the same"
        page.seen.clear()
        await page.queue(prompt(1, prefix="other"))
        await page.until("execution_success")
        assert Work.calls == [1] and (await page.until("execution_cached"))["nodes"] == ["1"]
        await page.post("/api/free", {"free_memory": True})
        page.seen.clear()
        await page.queue(prompt(1))
        await page.until("execution_success")
        assert Work.calls == [1, 1]

    with_page(test)


def test_interrupt_stops_the_running_node_and_the_queue_goes_on(with_page: With) -> None:
    async def test(page: Page) -> None:
        await page.open()
        Work.gate.clear()
        first = await page.queue(prompt(1))
        second = await page.queue(prompt(2))
        third = await page.queue(prompt(3))
        await asyncio.to_thread(Work.begun.wait, 10)
        queue = await page.get("/api/queue")
        assert [entry[1] for entry in queue["queue_running"]] == [first["prompt_id"]]
        assert [entry[1] for entry in queue["queue_pending"]] == [second["prompt_id"], third["prompt_id"]]
        await page.post("/api/queue", {"delete": [second["prompt_id"]]})
        await page.post("/api/interrupt", {"prompt_id": third["prompt_id"]})  # not the one that runs: nothing happens
        assert len((await page.get("/api/queue"))["queue_running"]) == 1
        await page.post("/api/interrupt", {})
        stopped = await page.until("execution_interrupted")
        assert (stopped["prompt_id"], stopped["node_id"], stopped["node_type"]) == (first["prompt_id"], "1", "Work")
        Work.gate.set()
        assert (await page.until("execution_success"))["prompt_id"] == third["prompt_id"]
        assert Work.calls == [1, 3]
        states = {job["id"]: job["status"] for job in (await page.get("/api/jobs"))["jobs"]}
        assert states == {first["prompt_id"]: "cancelled", third["prompt_id"]: "completed"}
        await page.post("/api/history", {"clear": True})
        assert (await page.get("/api/jobs"))["jobs"] == []

    with_page(test)


def test_a_failing_node_is_named_with_its_own_words(with_page: With) -> None:
    async def test(page: Page) -> None:
        await page.open()
        failing = prompt()
        failing["3"] = {"class_type": "Fail", "inputs": {"images": ["1", 0]}}
        failing["2"]["inputs"]["images"] = ["3", 0]
        await page.queue(failing)
        error = await page.until("execution_error")
        assert (error["node_id"], error["node_type"]) == ("3", "Fail")
        assert error["exception_message"] == "The picture is upside down. Turn it."
        assert error["exception_type"] == "ValueError" and "upside down" in error["traceback"][-1]
        assert error["executed"] == ["1"]

    with_page(test)


@pytest.mark.parametrize(
    ("inputs", "kind", "named"),
    [
        ({"value": 12}, "value_bigger_than_max", "value"),
        ({"value": "many"}, "invalid_input_type", "value"),
        ({}, "required_input_missing", "value"),
    ],
)
def test_a_wrong_input_is_an_error_on_its_node(with_page: With, inputs: Any, kind: str, named: str) -> None:
    async def test(page: Page) -> None:
        wrong = prompt()
        wrong["1"]["inputs"] = inputs
        status, answer = await page.post("/api/prompt", {"prompt": wrong})
        assert status == 400 and answer["error"]["type"] == "prompt_outputs_failed_validation"
        assert list(answer["node_errors"]) == ["1"]
        entry = answer["node_errors"]["1"]
        assert entry["class_type"] == "Work" and entry["dependent_outputs"] == ["2"]
        assert [(fault["type"], fault["extra_info"]["input_name"]) for fault in entry["errors"]] == [(kind, named)]

    with_page(test)


def test_what_can_run_does_when_something_else_is_wrong(with_page: With) -> None:
    async def test(page: Page) -> None:
        await page.open()
        mixed = prompt()
        mixed["3"] = {"class_type": "SaveImage", "inputs": {"filename_prefix": "nothing"}}
        answer = await page.queue(mixed)
        assert list(answer["node_errors"]) == ["3"]
        await page.until("execution_success")
        assert [data["node"] for kind, data in page.seen if kind == "executed"] == ["2"]

        page.seen.clear()
        chosen = {
            **prompt(5, "a"),
            "4": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "b"}},
        }
        await page.queue(chosen, partial_execution_targets=["4"])
        await page.until("execution_success")
        assert [data["node"] for kind, data in page.seen if kind == "executed"] == ["4"]

    with_page(test)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, "no_prompt"),
        ({"prompt": {"1": {"class_type": "KSampler", "inputs": {}}}}, "missing_node_type"),
        ({"prompt": {"1": {"class_type": "Work", "inputs": {"value": 1}}}}, "prompt_no_outputs"),
        ({"prompt": {"1": {"class_type": "SaveImage", "inputs": {"images": ["9", 0]}}}}, "prompt_no_outputs"),
    ],
)
def test_a_prompt_that_cannot_run_says_why(with_page: With, body: Any, kind: str) -> None:
    async def test(page: Page) -> None:
        status, answer = await page.post("/api/prompt", body)
        assert status == 400 and answer["error"]["type"] == kind and answer["error"]["message"]

    with_page(test)


def test_pages_of_others_are_refused(with_page: With) -> None:
    async def test(page: Page) -> None:
        own = f"{page.client.host}:{page.client.port}"
        for headers, status in (
            ({}, 200),
            ({"Origin": f"http://{own}"}, 200),
            ({"Origin": "http://elsewhere.example"}, 403),
            ({"Origin": f"http://{page.client.host}:1"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Host": "elsewhere.example"}, 403),
            ({"Host": "127.0.0.1.elsewhere.example"}, 403),
            ({"Host": "localhost:8199"}, 200),
        ):
            for path in ("/api/queue", "/", "/api/view?filename=a.png"):
                answer = await page.client.get(path, headers=headers)
                assert (answer.status == 403) == (status == 403), (headers, path)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await page.client.ws_connect("/ws", headers={"Origin": "http://elsewhere.example"})

    with_page(test)


TRAVERSALS = (
    "/api/view?filename=../secret.txt&type=input",
    "/api/view?filename=secret.txt&subfolder=..&type=input",
    "/api/view?filename=/etc/passwd",
    "/api/view?filename=secret.txt&subfolder=/etc",
    "/api/view?filename=..%2fsecret.txt%20[output]",
    "/api/view?filename=link.txt&type=input",
    "/api/userdata/..%2f..%2fsecret.txt",
    "/api/userdata?dir=..%2f..",
    "/../secret.txt",
    "/..%2fsecret.txt",
    "/%2e%2e/secret.txt",
    "/extensions/ComfyUI-FaceStylist/..%2fpyproject.toml",
    "/api/workflow_templates/ComfyUI-FaceStylist/..%2fpyproject.toml",
)


def test_no_address_leads_out_of_its_folder(with_page: With) -> None:
    async def test(page: Page) -> None:
        (page.folder / "input").mkdir()
        (page.folder / "input" / "link.txt").symlink_to(page.folder / "secret.txt")
        base = f"http://{page.client.host}:{page.client.port}"
        from yarl import URL

        for path in TRAVERSALS:
            answer = await page.client.session.get(URL(base + path, encoded=True))
            assert answer.status in (400, 403, 404), (path, answer.status)
            assert "secret" not in (await answer.text()).replace("secret.txt", "")
        for name in ("../../evil.txt", "..\\..\\evil.txt"):
            form = aiohttp.FormData({"subfolder": "../.."})
            form.add_field("image", b"x", filename=name)
            assert (await page.client.post("/api/upload/image", data=form)).status == 403
        answer = await page.client.session.post(URL(f"{base}/api/userdata/..%2f..%2fevil.txt", encoded=True), data=b"x")
        assert answer.status == 403
        assert not list(page.folder.rglob("evil.txt"))
        assert not (page.folder.parent / "evil.txt").exists()

    with_page(test)


def test_uploads_keep_equal_files_and_number_others(with_page: With) -> None:
    async def test(page: Page) -> None:
        async def upload(content: bytes, **fields: str) -> str:
            form = aiohttp.FormData(fields)
            form.add_field("image", content, filename="a.png")
            answer = await page.client.post("/api/upload/image", data=form)
            assert answer.status == 200
            return (await answer.json())["name"]

        assert [await upload(b"one"), await upload(b"one"), await upload(b"two")] == ["a.png", "a.png", "a (1).png"]
        assert await upload(b"three", overwrite="true") == "a.png"
        assert (page.folder / "input" / "a.png").read_bytes() == b"three"
        info = await page.get("/api/object_info/LoadImage")
        assert info["LoadImage"]["input"]["required"]["image"][0][:2] == ["a (1).png", "a.png"]

    with_page(test)


def test_settings_and_workflows_are_kept(with_page: With) -> None:
    async def test(page: Page) -> None:
        assert (await page.get("/api/settings"))["Comfy.TutorialCompleted"] is True
        await page.post("/api/settings/Comfy.Locale", "zh")
        await page.post("/api/settings", {"Comfy.X": 1})
        settings = await page.get("/api/settings")
        assert settings["Comfy.Locale"] == "zh" and settings["Comfy.X"] == 1
        saved = await page.client.post("/api/userdata/workflows%2Fmine.json?overwrite=false", data=b"{}")
        assert saved.status == 200
        again = await page.client.post("/api/userdata/workflows%2Fmine.json?overwrite=false", data=b"{}")
        assert again.status == 409
        listed = await page.get("/api/userdata?dir=workflows&recurse=true&split=false&full_info=true")
        assert [entry["path"] for entry in listed] == ["mine.json"]
        moved = await page.client.post("/api/userdata/workflows%2Fmine.json/move/workflows%2Fours.json")
        assert await moved.json() == "workflows/ours.json"
        assert (await page.client.delete("/api/userdata/workflows%2Fours.json")).status == 204

    with_page(test)


def test_a_page_in_a_picture_folder_is_a_download(with_page: With) -> None:
    async def test(page: Page) -> None:
        (page.folder / "output").mkdir()
        (page.folder / "output" / "a.html").write_text("<script>alert(1)</script>")
        (page.folder / "output" / "a.svg").write_text("<svg onload='alert(1)'/>")
        for name in ("a.html", "a.svg"):
            answer = await page.client.get(f"/api/view?filename={name}")
            assert answer.content_type == "application/octet-stream"
            assert answer.headers["Content-Disposition"].startswith("attachment")

    with_page(test)


def test_pictures_in_other_forms(with_page: With) -> None:
    async def test(page: Page) -> None:
        (page.folder / "output").mkdir()
        Image.new("RGBA", (6, 4), (255, 0, 0, 128)).save(page.folder / "output" / "a.png")
        for query, kind, mode in (
            ("preview=webp;90", "WEBP", "RGBA"),
            ("preview=jpeg", "JPEG", "RGB"),
            ("channel=rgb", "PNG", "RGB"),
            ("channel=a", "PNG", "L"),
        ):
            answer = await page.client.get(f"/api/view?filename=a.png&{query}")
            with Image.open(io.BytesIO(await answer.read())) as picture:
                assert (picture.format, picture.mode, picture.size) == (kind, mode, (6, 4))
        sample = await page.client.get("/api/view?filename=facestylist_sample.png&type=input")
        assert sample.status == 200, "the sample picture needs no copy"

    with_page(test)


def test_what_the_front_end_asks_for_is_there(with_page: With) -> None:
    async def test(page: Page) -> None:
        for path in (
            "/api/users",
            "/api/settings",
            "/api/features",
            "/api/system_stats",
            "/api/extensions",
            "/api/i18n",
            "/api/userdata?dir=workflows&recurse=true&split=false&full_info=true",
            "/api/userdata/comfy.templates.json",
            "/api/global_subgraphs",
            "/api/node_replacements",
            "/api/object_info",
            "/api/experiment/models",
            "/internal/folder_paths",
            "/api/jobs?status=in_progress,pending&limit=200&offset=0",
            "/api/queue",
            "/api/history?max_items=64",
            "/api/prompt",
            "/api/embeddings",
        ):
            await page.get(path)
        assert "front end" in await (await page.client.get("/")).text()
        assert (await page.client.get("/api/userdata/user.css")).content_type == "text/css"
        extensions = await page.get("/api/extensions")
        assert "/extensions/core/one.js" in extensions
        for address in extensions:
            assert (await page.client.get(address)).status == 200
        templates = await page.get("/api/workflow_templates")
        for pack, names in templates.items():
            assert names
            for name in names:
                answer = await page.client.get(f"/api/workflow_templates/{pack}/{name}.json")
                assert answer.status == 200 and "nodes" in json.loads(await answer.read())

    with_page(test)
