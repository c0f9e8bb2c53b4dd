// The rules, and what is refused before anybody is asked: no server is needed.

import assert from "node:assert/strict";
import { test } from "node:test";

import { handle, words } from "./notes.js";
import { Relay } from "./relay.js";

async function ask(method, path, { body, headers, send } = {}) {
  const nobody = (url) => assert.fail(`${url} was asked`);
  const relay = new Relay("http://nowhere", "token", send ?? nobody);
  const request = new Request(`http://here${path}`, { method, headers, body });
  const said = await handle(request, relay, ["right", ""]);
  return [said.status, JSON.parse((await said.text()) || "{}").code];
}

test("words are counted", () => {
  assert.equal(words(""), 0);
  assert.equal(words("  the towpath,\nat dawn "), 4);
});

test("a note has a text", async () => {
  const texts = ["", 7, "x".repeat(1001), "a\0b", "\ud800"].map((text) => JSON.stringify({ text }));
  for (const body of ["", "{}", "[]", "null", ...texts]) {
    assert.deepEqual(await ask("POST", "/notes", { body }), [422, "invalid"], body);
  }
});

test("what is not there is refused", async () => {
  assert.deepEqual(await ask("GET", "/notes/7"), [404, "unknown_note"]);
  assert.deepEqual(await ask("DELETE", "/notes/7"), [405, "method_not_allowed"]);
  assert.deepEqual(await ask("GET", "/"), [404, "not_found"]);
});

test("only the relay delivers", async () => {
  const path = "/_relay/%NAME%/events";
  const event = { "ce-id": "1", "ce-source": "s", "ce-type": "note.written" };
  for (const shown of [{}, { authorization: "Bearer wrong" }, { authorization: "Bearer " }]) {
    const said = await ask("POST", path, { body: "{}", headers: { ...event, ...shown } });
    assert.deepEqual(said, [401, "unauthorized"], JSON.stringify(shown));
  }
  const right = { authorization: "Bearer right" };
  assert.deepEqual(await ask("POST", path, { body: "{}", headers: right }), [422, "malformed_event"]);
  for (const body of ["{", "null", "[]", "{}", '{"id": 7, "text": "one"}']) {
    const said = await ask("POST", path, { body, headers: { ...event, ...right } });
    assert.deepEqual(said, [422, "malformed_event"], body);
  }
});

test("a relay that doesn't answer is no fault of the caller", async () => {
  const send = () => Promise.reject(new TypeError("connection refused"));
  assert.deepEqual(await ask("POST", "/notes", { body: '{"text": "one"}', send }), [503, "unavailable"]);
});
