"""What this service does. It knows no Spin, so its tests run without one."""

import hmac
import json
import re
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from relay import Refused, Relay

TOPIC = "%NAME%.events"
WRITTEN = "note.written"
MAX_TEXT = 1000
MAX_WAIT_S = 30


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def answer(status: int, body: Any = None, **headers: str) -> Answer:
    text = b"" if body is None else json.dumps(body).encode()
    media = {} if body is None else {"content-type": "application/json"}
    return Answer(status, media | headers, text)


def problem(status: int, code: str, detail: str, **headers: str) -> Answer:
    """RFC 9457."""
    said = answer(status, {"title": code.replace("_", " "), "status": status, "code": code, "detail": detail}, **headers)
    said.headers["content-type"] = "application/problem+json"
    return said


async def handle(method: str, path: str, headers: dict[str, str], body: bytes, relay: Relay, tokens: list[str]) -> Answer:
    """Routes to what is done."""
    try:
        match (method, path.strip("/").split("/")):
            case ("POST", ["notes"]):
                return await write(body, relay)
            case (_, ["notes"]):
                return problem(405, "method_not_allowed", "POST is allowed here.", allow="POST")
            case ("GET", ["notes", note]):
                return await read(note, headers, relay)
            case (_, ["notes", _]):
                return problem(405, "method_not_allowed", "GET is allowed here.", allow="GET")
            case ("POST", ["_relay", _, "events"]):
                return await hear(headers, body, relay, tokens)
            case _:
                return problem(404, "not_found", "There is nothing here.")
    except Refused as refused:
        if refused.retryable:
            return problem(503, "unavailable", "Try again in a moment.", **{"retry-after": "1"})
        print(f"the relay refused it: {refused}")
        return problem(500, "internal", "This service failed; its log says why.")


async def write(body: bytes, relay: Relay) -> Answer:
    """`POST /notes`: the note and its event, in one unit of work."""
    text = text_of(body)
    if text is None:
        return problem(422, "invalid", f"`text` is a string of 1 to {MAX_TEXT} characters.")
    note = {"id": str(uuid.uuid4()), "text": text, "written_at": datetime.now(timezone.utc).isoformat(), "words": None}
    await relay.run({
        "steps": [{"sql": "INSERT INTO notes (id, text, written_at) VALUES ($1, $2, $3)",
                   "params": [note["id"], note["text"], note["written_at"]]}],
        "events": [{"topic": TOPIC, "key": note["id"], "type": WRITTEN, "data": {"id": note["id"], "text": text}}],
    })
    return answer(201, note, location=f"/notes/{note['id']}")


async def read(note: str, headers: dict[str, str], relay: Relay) -> Answer:
    """`GET /notes/{id}`. `Prefer: wait=5` waits until its words are counted, 5 seconds at most."""
    unknown = problem(404, "unknown_note", "There is no such note.")
    try:
        note = str(uuid.UUID(note))
    except ValueError:
        return unknown
    sql = "SELECT id, text, written_at, words FROM notes WHERE id = $1"
    rows = await relay.query({"sql": sql, "params": [note]})
    if not rows:
        return unknown
    seconds = re.fullmatch(r"\s*wait=(\d{1,3})\s*", headers.get("prefer", ""))
    if rows[0]["words"] is None and seconds:
        wait = {"keys": [note], "timeout_ms": 1000 * min(int(seconds[1]), MAX_WAIT_S)}
        rows = await relay.query({"sql": sql + " AND words IS NOT NULL", "params": [note], "wait": wait}) or rows
    # The relay writes bigint as a string: JavaScript would round it.
    counted = rows[0]["words"]
    return answer(200, rows[0] | {"words": None if counted is None else int(counted)})


async def hear(headers: dict[str, str], body: bytes, relay: Relay, tokens: list[str]) -> Answer:
    """What the relay delivers: a CloudEvent. It is handled in one unit of work under its id, so a second delivery changes nothing.

    A 4xx makes the event a dead letter (`towpath dlq list`); with a 503 the relay tries again for as long as it takes.
    """
    shown = headers.get("authorization", "").removeprefix("Bearer ").encode()
    if not any([hmac.compare_digest(shown, token.encode()) for token in tokens if token]):
        return problem(401, "unauthorized", "The delivery token is missing or unknown.")
    try:
        inbox, kind, data = f"{headers['ce-source']}#{headers['ce-id']}", headers["ce-type"], json.loads(body)
    except (KeyError, ValueError):
        return problem(422, "malformed_event", "This is no CloudEvent with JSON.")
    if kind == WRITTEN:
        match data:
            case {"id": str(note), "text": str(text)}:
                pass
            case _:
                return problem(422, "malformed_event", f"This is no {WRITTEN}.")
        await relay.run({
            "inbox": inbox,
            "steps": [{"sql": "UPDATE notes SET words = $2 WHERE id = $1", "params": [note, words(text)]}],
            # Who waits for this note hears of it.
            "notify": [note],
        })
    return answer(204)


def text_of(body: bytes) -> str | None:
    """The text of a new note; none where there is none that will do: PostgreSQL keeps no NUL, and UTF-8 no half of a pair."""
    try:
        text = json.loads(body)["text"]
    except (ValueError, KeyError, TypeError):
        return None
    return text if isinstance(text, str) and 1 <= len(text) <= MAX_TEXT and not re.search("[\0\ud800-\udfff]", text) else None


def words(text: str) -> int:
    """How many words a text has."""
    return len(text.split())
