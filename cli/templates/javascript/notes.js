// What this service does. It knows no Spin, so its tests run without one.

import { Refused } from "./relay.js";

const TOPIC = "%NAME%.events";
const WRITTEN = "note.written";
const MAX_TEXT = 1000;
const MAX_WAIT_S = 30;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

function answer(status, body, headers = {}) {
  const media = body === undefined ? {} : { "content-type": "application/json" };
  return new Response(body === undefined ? null : JSON.stringify(body), { status, headers: { ...media, ...headers } });
}

/** RFC 9457. */
function problem(status, code, detail, headers = {}) {
  const body = { title: code.replaceAll("_", " "), status, code, detail };
  return answer(status, body, { "content-type": "application/problem+json", ...headers });
}

/** Routes to what is done. `tokens` are those that the relay may show. */
export async function handle(request, relay, tokens) {
  try {
    const [first, second, third, ...more] = new URL(request.url).pathname.split("/").filter((part) => part !== "");
    if (first === "notes" && second === undefined) {
      return request.method === "POST"
        ? await write(await request.text(), relay)
        : problem(405, "method_not_allowed", "POST is allowed here.", { allow: "POST" });
    }
    if (first === "notes" && third === undefined) {
      return request.method === "GET"
        ? await read(second, request.headers, relay)
        : problem(405, "method_not_allowed", "GET is allowed here.", { allow: "GET" });
    }
    if (request.method === "POST" && first === "_relay" && third === "events" && more.length === 0) {
      return await hear(request.headers, await request.text(), relay, tokens);
    }
    return problem(404, "not_found", "There is nothing here.");
  } catch (error) {
    if (error instanceof Refused && error.retryable) {
      return problem(503, "unavailable", "Try again in a moment.", { "retry-after": "1" });
    }
    console.error(String(error));
    return problem(500, "internal", "This service failed; its log says why.");
  }
}

/** `POST /notes`: the note and its event, in one unit of work. */
async function write(body, relay) {
  const text = textOf(body);
  if (text === undefined) {
    return problem(422, "invalid", `\`text\` is a string of 1 to ${MAX_TEXT} characters.`);
  }
  const note = { id: crypto.randomUUID(), text, written_at: new Date().toISOString(), words: null };
  await relay.run({
    steps: [
      {
        sql: "INSERT INTO notes (id, text, written_at) VALUES ($1, $2, $3)",
        params: [note.id, note.text, note.written_at],
      },
    ],
    events: [{ topic: TOPIC, key: note.id, type: WRITTEN, data: { id: note.id, text } }],
  });
  return answer(201, note, { location: `/notes/${note.id}` });
}

/** `GET /notes/{id}`. `Prefer: wait=5` waits until its words are counted, 5 seconds at most. */
async function read(id, headers, relay) {
  const unknown = () => problem(404, "unknown_note", "There is no such note.");
  if (!UUID.test(id)) {
    return unknown();
  }
  const sql = "SELECT id, text, written_at, words FROM notes WHERE id = $1";
  let rows = await relay.query({ sql, params: [id] });
  if (rows.length === 0) {
    return unknown();
  }
  const seconds = /^\s*wait=(\d{1,3})\s*$/.exec(headers.get("prefer") ?? "");
  if (rows[0].words === null && seconds) {
    const wait = { keys: [rows[0].id], timeout_ms: 1000 * Math.min(Number(seconds[1]), MAX_WAIT_S) };
    const counted = await relay.query({ sql: `${sql} AND words IS NOT NULL`, params: [id], wait });
    rows = counted.length === 0 ? rows : counted;
  }
  // The relay writes bigint as a string, since a number of JavaScript would round large ones.
  const { words } = rows[0];
  return answer(200, { ...rows[0], words: words === null ? null : Number(words) });
}

/**
 * What the relay delivers: a CloudEvent. It is handled in one unit of work under its id, so a second delivery changes nothing.
 *
 * A 4xx makes the event a dead letter (`towpath dlq list`); with a 503 the relay tries again for as long as it takes.
 */
async function hear(headers, body, relay, tokens) {
  const shown = (headers.get("authorization") ?? "").replace(/^Bearer /, "");
  if (!tokens.filter((token) => token !== "").map((token) => same(shown, token)).includes(true)) {
    return problem(401, "unauthorized", "The delivery token is missing or unknown.");
  }
  const [source, id, type] = ["ce-source", "ce-id", "ce-type"].map((name) => headers.get(name));
  const data = parsed(body);
  if (!source || !id || !type || data === undefined) {
    return problem(422, "malformed_event", "This is no CloudEvent with JSON.");
  }
  if (type === WRITTEN) {
    if (typeof data?.id !== "string" || typeof data.text !== "string") {
      return problem(422, "malformed_event", `This is no ${WRITTEN}.`);
    }
    await relay.run({
      inbox: `${source}#${id}`,
      steps: [{ sql: "UPDATE notes SET words = $2 WHERE id = $1", params: [data.id, words(data.text)] }],
      // Who waits for this note hears of it.
      notify: [data.id],
    });
  }
  return answer(204);
}

/** Whether two texts are the same. Takes as long for a wrong one as for one that is nearly right. */
function same(one, other) {
  const [a, b] = [one, other].map((text) => new TextEncoder().encode(text));
  let different = a.length ^ b.length;
  b.forEach((byte, place) => {
    different |= byte ^ (a[place] ?? 0);
  });
  return different === 0;
}

function parsed(body) {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

/** The text of a new note; undefined where there is none that will do: PostgreSQL keeps no NUL, and UTF-8 no half of a pair. */
function textOf(body) {
  const text = parsed(body)?.text;
  if (typeof text !== "string" || text.includes("\0") || /[\ud800-\udfff]/u.test(text)) {
    return undefined;
  }
  const length = [...text].length;
  return 1 <= length && length <= MAX_TEXT ? text : undefined;
}

/** How many words a text has. */
export function words(text) {
  return text.split(/\s+/).filter((word) => word !== "").length;
}
