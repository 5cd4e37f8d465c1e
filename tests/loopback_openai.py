"""A server on loopback that speaks OpenAI's wire format, with faults: for tests only.

`python -m tests.loopback_openai FOLDER [key=value ...]` prints its address and writes a line per request to
FOLDER/log.jsonl: what it was asked and how it answered. A caption's answer depends on the caption alone; faults are
drawn by the request's text and how often it came, so that a second try of the same request fares differently. With
`mark_every=N` it says "mark" after every N requests: a test waits for that instead of for a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from stages.formats.keys import request_key
from stages.language.rules import decompose

FAULTS = ("429", "500", "reset", "time_out", "cut_body", "no_answer", "not_json", "rule", "refusal")
# What comes with status 200 and is no answer.
NO_ANSWERS = (
    "<html><body>502 Bad Gateway</body></html>",
    "",
    "null",
    '{"error": {"message": "overloaded", "code": 503}}',
    '{"error": "overloaded", "choices": []}',
    '{"choices": null}',
    '{"choices": []}',
    '{"choices": [null]}',
    '{"choices": [{"index": 0, "message": null}]}',
    '{"choices": [{"index": 0, "message": {"role": "assistant", "content": "{\\"vis"}, "finish_reason": "error"}]}',
    '{"choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": null}]}',
    '{"id": "chatcmpl-1", "choices": [{"index": 0, "message": {"role": "assistant", "cont',
)
SECRET_HEADERS = ("authorization", "openai-organization", "openai-project", "x-gate")
STUBBORN = {"visual_part": "a dog", "text_part": "a dog barks"}  # breaks rules at every attempt


def answer_to(caption: str) -> dict[str, str]:
    """The parts that this server's model finds; for a share of captions ones that never pass."""
    found = decompose(caption, 3, 7)
    if found.visual_part is None or found.text_part is None:
        return STUBBORN
    return {"visual_part": found.visual_part, "text_part": found.text_part}


def completion(body: dict[str, Any], fault: str | None = None) -> str:
    caption = body["messages"][1]["content"].removeprefix("Caption: ")
    ended = "stop"
    message: dict[str, Any] = {"role": "assistant", "content": json.dumps(answer_to(caption)), "refusal": None}
    if fault == "not_json":
        message["content"] = "Here are the parts: {"
    elif fault == "rule":
        message["content"] = json.dumps({"visual_part": "a red dog", "text_part": "the red dogs bark"})
    elif fault == "thinks":
        message["content"], ended = None, "length"
    elif fault == "refusal":
        message |= {"content": None, "refusal": "I cannot help with that."}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "finish_reason": ended, "logprobs": None, "message": message}],
            "usage": {"prompt_tokens": 500, "completion_tokens": 20, "total_tokens": 520},
        }
    )


class Server:
    """State of one server; `settings` are floats by name: fault_share, limit (requests a second), latency (seconds)."""

    def __init__(self, folder: Path, settings: dict[str, str], say: Callable[[str], None]) -> None:
        self.say = say
        self.log = open(folder / "log.jsonl", "a", encoding="utf-8")  # noqa: SIM115
        self.settings, self.noted = settings, 0
        self.seen: Counter[str] = Counter()
        self.allowed, self.filled_at = float(settings.get("limit", 0)), 0.0
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict[str, Any]] = {}

    def fault_of(self, body: dict[str, Any]) -> str | None:
        """The fault of a request; faults of the answer's content hit first turns alone, so every run ends alike."""
        text = json.dumps(body, sort_keys=True)
        self.seen[text] += 1
        digest = hashlib.sha256(f"{self.seen[text]}{text}".encode()).digest()
        if digest[0] / 256 >= float(self.settings.get("fault_share", 0)):
            return None
        kinds = FAULTS if len(body["messages"]) == 2 else FAULTS[:6]
        return kinds[digest[1] % len(kinds)]

    def rate_headers(self) -> tuple[bool, dict[str, str]]:
        """Take one request out of the bucket; whether there was one, and what OpenAI's headers say of it."""
        limit = float(self.settings.get("limit", 0))
        if not limit:
            return True, {}
        now = asyncio.get_running_loop().time()
        self.allowed = min(limit, self.allowed + (now - self.filled_at) * limit)
        self.filled_at = now
        taken = self.allowed >= 1
        self.allowed -= taken
        headers = {} if taken else {"retry-after-ms": f"{(1 - self.allowed) / limit * 1000:.1f}"}
        if self.settings.get("headers"):
            headers["x-ratelimit-limit-requests"] = f"{limit:.0f}"
            headers["x-ratelimit-remaining-requests"] = f"{int(self.allowed)}"
            headers["x-ratelimit-reset-requests"] = f"{(limit - self.allowed) / limit:.3f}s"
        return taken, headers

    def note(self, **row: Any) -> None:
        self.log.write(json.dumps(row) + "\n")
        self.log.flush()
        self.noted += 1
        if self.noted % int(self.settings.get("mark_every", sys.maxsize)) == 0:
            self.say("mark")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                method, path, _ = lines[0].split(" ")
                headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines[1:])}
                if headers.get("transfer-encoding", "") == "chunked":
                    content = await self._chunks(reader)
                else:
                    content = await reader.readexactly(int(headers.get("content-length", 0)))
                if not await self._answer(method, path, headers, content, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _chunks(self, reader: asyncio.StreamReader) -> bytes:
        content = b""
        while size := int(await reader.readline(), 16):
            content += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return content

    async def _answer(
        self, method: str, path: str, headers: dict[str, str], content: bytes, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; False where the connection is to be closed."""
        if self.settings.get("error"):
            status, code = self.settings["error"].split(":")
            secrets = " ".join(headers.get(name, "") for name in SECRET_HEADERS)
            error = {"message": f"Incorrect key {secrets} for {path}", "type": code, "code": code, "param": None}
            self.note(path=path, fault=status)
            return await self._send(writer, int(status), json.dumps({"error": error}))
        if path != "/v1/chat/completions":
            answer = self._batch_api(method, path, content)
            first = not self.seen[f"{method} {path}"]
            self.seen[f"{method} {path}"] += 1
            if answer is None:
                return await self._send(writer, 404, '{"error": {"message": "No batch found"}}')
            if first and self.settings.get("no_answers"):
                answer = (NO_ANSWERS[0], NO_ANSWERS[3], NO_ANSWERS[-1])[len(self.seen) % 3]
            made = (method, path) == ("POST", "/v1/batches")
            while made and (Path(self.log.name).parent / "hold_id").exists():
                await asyncio.sleep(0.01)
            drips = first and self.settings.get("drip") and path.startswith("/v1/batches/")
            return await self._send(writer, 200, answer, drips=bool(drips))
        body = json.loads(content)
        if self.settings.get("poison"):
            bad = "poison" in body["messages"][1]["content"]
            self.note(fault="401" if bad else "429")
            return await self._send(writer, 401 if bad else 429, "{}", {"retry-after": "3600"})
        if self.settings.get("retry_after"):
            self.note(fault="429")
            return await self._send(writer, 429, "{}", {"retry-after": self.settings["retry_after"]})
        if refused := self.refused(body):
            number = 400 if "content_filter" in refused else 422
            self.note(fault=str(number), body=body)
            return await self._send(writer, number, refused)
        fault, key = self.fault_of(body), request_key(body)
        taken, extra = self.rate_headers()
        row = {"body": body if self.settings.get("bodies") else None, "key": key}
        self.note(**row, fault="429" if not taken else fault, time=asyncio.get_running_loop().time())
        if not taken:
            return await self._send(writer, 429, '{"error": {"message": "slow down"}}', extra)
        await asyncio.sleep(float(self.settings.get("latency", 0)))
        if fault == "429":
            return await self._send(writer, 429, '{"error": {"message": "slow down"}}', {"retry-after": "0.01"})
        if fault == "500":
            return await self._send(writer, 500, '{"error": {"message": "oops"}}', {"retry-after": "0"})
        if fault == "reset":
            writer.transport.abort()
            return False
        if fault == "time_out":
            await asyncio.sleep(float(self.settings.get("time_out", 3)))
            return False
        if body.get("max_completion_tokens", 0) < int(self.settings.get("thinks", 0)):
            fault = "thinks"
        text = completion(body, fault)
        if fault == "no_answer":
            text = NO_ANSWERS[int(key, 16) % len(NO_ANSWERS)]
        if fault == "cut_body":
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(text)}\r\n\r\n{text[:50]}".encode())
            await writer.drain()
            return False
        drips = self.settings.get("drip") and self.seen[json.dumps(body, sort_keys=True)] == 1
        return await self._send(writer, 200, text, extra, drips=bool(drips))

    def refused(self, body: dict[str, Any]) -> str | None:
        """The refusal of a body with a field of the setting `refuses`, as FastAPI words it, or by Azure's filter."""
        if self.settings.get("filters", "\0") in body["messages"][1]["content"]:
            return '{"error": {"message": "filtered", "code": "content_filter", "param": "prompt"}}'
        for name in filter(None, self.settings.get("refuses", "").split(",")):
            if name in body:
                detail = {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
                return json.dumps({"detail": [detail]})
        return None

    async def _send(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        text: str,
        headers: dict[str, str] | None = None,
        drips: bool = False,
    ) -> bool:
        lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(text.encode())}"]
        lines += [f"{key}: {value}" for key, value in (headers or {}).items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        for start in range(0, len(text), 1 if drips else max(len(text), 1)):
            writer.write(text[start : start + (1 if drips else len(text))].encode())
            try:
                await writer.drain()
            except ConnectionError:
                if drips:
                    self.note(given_up=True)
                raise
            await asyncio.sleep(0.02 if drips else 0)
        return True

    def _batch_api(self, method: str, path: str, content: bytes) -> str | None:
        """Files and batches: a batch is done at the second look, every fifth row of a first batch fails."""
        self.note(path=f"{method} {path}")
        if path == "/v1/files":
            name = f"file-{len(self.files)}"
            start = content.index(b'{"custom_id"')
            self.files[name] = content[start:].split(b"\r\n--")[0].split(b"\n--")[0].decode()
            return json.dumps({"id": name, "object": "file", "purpose": "batch", "status": "processed"})
        if path.startswith("/v1/files/"):
            return self.files.get(path.split("/")[3])
        if method == "POST":
            return self._make_batch(json.loads(content))
        if path.startswith("/v1/batches/"):
            batch = self.batches.get(path.split("/")[3])
            answer = json.dumps(batch)
            if batch and batch["status"] != "failed" and not (Path(self.log.name).parent / "hold").exists():
                batch["status"] = "completed"
            return answer if batch else None
        return json.dumps({"object": "list", "data": list(self.batches.values()), "has_more": False})

    def _make_batch(self, asked: dict[str, Any]) -> str:
        name = f"batch-{len(self.batches)}"
        rows = [json.loads(line) for line in self.files[asked["input_file_id"]].strip().split("\n")]
        answered: list[dict[str, Any]] = []
        too_large = len(rows) > int(self.settings.get("batch_rows", sys.maxsize))
        for number, row in enumerate([] if too_large else rows):
            self.note(key=row["custom_id"], fault=None)
            response = {"status_code": 200, "body": json.loads(completion(row["body"]))}
            if refused := self.refused(row["body"]):
                response = {"status_code": 400 if "content_filter" in refused else 422, "body": json.loads(refused)}
            elif number % 5 == 4 and not self.batches:
                response = {"status_code": 500, "body": {}}
            elif number % 5 == 3 and not self.batches and self.settings.get("no_answers"):
                response["body"] = {"error": {"message": "overloaded"}}
            answered.append({"custom_id": row["custom_id"], "response": response, "error": None})
        good = [json.dumps(row) for row in answered if row["response"]["status_code"] == 200]
        bad = [json.dumps(row) for row in answered if row["response"]["status_code"] != 200]
        self.files[f"{name}-out"], self.files[f"{name}-bad"] = "\n".join(reversed(good)), "\n".join(bad)
        refusal = {"code": "token_limit_exceeded", "message": f"Enqueued token limit reached for {len(rows)} rows"}
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "status": "failed" if too_large else "in_progress",
            "errors": {"data": [refusal]} if too_large else None,
            "metadata": asked["metadata"],
            "output_file_id": f"{name}-out" if good else None,
            "error_file_id": f"{name}-bad" if bad else None,
            "request_counts": {"total": len(rows), "completed": 0, "failed": 0},
        }
        return json.dumps(self.batches[name])


async def main(folder: Path, settings: dict[str, str], say: Callable[[str], None]) -> None:
    """Serve until cancelled; `say` gets the address first, then the marks."""
    state = Server(folder, settings, say)
    answer_to("A dog barks")  # reading the word lists takes longer than a test's patience with a server
    server = await asyncio.start_server(state.serve, "127.0.0.1", 0, limit=2**26)
    port = server.sockets[0].getsockname()[1]
    say(f"http://127.0.0.1:{port}/v1")
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    words = dict(word.split("=", 1) for word in sys.argv[2:])
    asyncio.run(main(Path(sys.argv[1]), words, partial(print, flush=True)))
