"""The rules, and what is refused before anybody is asked: no server is needed."""

import asyncio
import json
import unittest

import notes
from relay import Relay, Send


async def nobody(url: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    raise AssertionError(f"{url} was asked")


async def away(url: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    raise ConnectionError("connection refused")


def ask(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, send: Send = nobody) -> tuple[int, str]:
    relay = Relay("http://nowhere", "token", send)
    said = asyncio.run(notes.handle(method, path, headers or {}, body, relay, ["right", ""]))
    return said.status, json.loads(said.body).get("code", "")


class Notes(unittest.TestCase):
    def test_words_are_counted(self) -> None:
        self.assertEqual(notes.words(""), 0)
        self.assertEqual(notes.words("  the towpath,\nat dawn "), 4)

    def test_a_note_has_a_text(self) -> None:
        texts = [json.dumps({"text": text}).encode() for text in ["", 7, "x" * 1001, "a\0b", "\ud800"]]
        for body in [b"", b"{}", b"[]", b"null", *texts]:
            self.assertEqual(ask("POST", "/notes", body), (422, "invalid"), body)

    def test_what_is_not_there_is_refused(self) -> None:
        self.assertEqual(ask("GET", "/notes/7"), (404, "unknown_note"))
        self.assertEqual(ask("DELETE", "/notes/7"), (405, "method_not_allowed"))
        self.assertEqual(ask("GET", "/"), (404, "not_found"))

    def test_only_the_relay_delivers(self) -> None:
        path, event = "/_relay/%NAME%/events", {"ce-id": "1", "ce-source": "s", "ce-type": "note.written"}
        for shown in [{}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer "}]:
            self.assertEqual(ask("POST", path, b"{}", event | shown), (401, "unauthorized"), shown)
        right = {"authorization": "Bearer right"}
        self.assertEqual(ask("POST", path, b"{}", right), (422, "malformed_event"))
        for body in [b"{", b"null", b"[]", b"{}", b'{"id": 7, "text": "one"}']:
            self.assertEqual(ask("POST", path, body, event | right), (422, "malformed_event"), body)

    def test_a_relay_that_does_not_answer_is_no_fault_of_the_caller(self) -> None:
        self.assertEqual(ask("POST", "/notes", b'{"text": "one"}', send=away), (503, "unavailable"))


if __name__ == "__main__":
    unittest.main()
