-- Notes, and how many words each has: none until the event has come back.

CREATE TABLE notes (
    id         uuid        PRIMARY KEY,
    text       text        NOT NULL CHECK (char_length(text) BETWEEN 1 AND 1000),
    written_at timestamptz NOT NULL,
    words      bigint      CHECK (words >= 0)
);
