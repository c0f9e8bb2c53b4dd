-- Keys whose next event Kafka refuses (too large for its topic, missing rights, no such topic), and their events.
--
-- The key alone waits. Its events move from the outbox to `held_event`, so that reading the outbox costs the same however
-- many they are, and however long they wait. Only the publisher that holds the key's shard moves them, under the lease's
-- lock, in the order of their numbers: so what is in `held_event` of a key comes before what the outbox has of it.
--
-- A relay of an earlier release doesn't know held keys. It publishes what comes after, so don't let one run beside a newer
-- one while a key is held.
CREATE TABLE towpath.held_key (
    topic      text NOT NULL,
    key        text NOT NULL,
    shard      smallint NOT NULL CHECK (shard BETWEEN 0 AND 15),
    -- What Kafka said the last time.
    cause      text NOT NULL,
    -- How often in a row it refused the first event of the key; 0: it took the last one, and the others follow.
    refused    integer NOT NULL,
    held_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    retry_at   timestamptz NOT NULL,
    PRIMARY KEY (topic, key)
) WITH (fillfactor = 70);

-- The columns of towpath.outbox. `seq` is the number that the event had there.
CREATE TABLE towpath.held_event (
    seq         bigint PRIMARY KEY,
    shard       smallint NOT NULL,
    topic       text NOT NULL,
    key         text NOT NULL,
    id          text NOT NULL,
    type        text NOT NULL,
    source      text NOT NULL,
    subject     text,
    time        timestamptz NOT NULL,
    traceparent text,
    tracestate  text,
    data        text NOT NULL,
    created_at  timestamptz NOT NULL
);
CREATE INDEX held_event_key ON towpath.held_event (topic, key, seq);

-- (Where this file asks whether an event waits, it does so in a way that keeps PostgreSQL from the index of waiting events:
-- the numbers are known, and that index may be full of entries that an open snapshot keeps. V5 says more.)

-- Moves events of a shard out of the outbox behind their keys, if `holder` still holds the shard under `fence`, and answers
-- how many it moved. `refused` are those among them that Kafka refused, with the cause of each; the others belong to a key
-- that is held already, or stand behind a refused one. For the relay alone.
CREATE FUNCTION towpath.outbox_hold(
    shard smallint, holder text, fence bigint, seqs bigint[], refused bigint[], causes text[], wait_ms bigint
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    moved bigint;
BEGIN
    -- As in outbox_settle(): the lock makes a takeover wait.
    PERFORM FROM towpath.shard_lease AS l
    WHERE l.shard = outbox_hold.shard AND l.holder = outbox_hold.holder AND l.fence = outbox_hold.fence FOR SHARE;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    INSERT INTO towpath.held_key AS k (topic, key, shard, cause, refused, retry_at)
    SELECT DISTINCT ON (o.topic, o.key) o.topic, o.key, o.shard, coalesce(r.cause, ''), (r.seq IS NOT NULL)::integer,
           clock_timestamp() + CASE WHEN r.seq IS NULL THEN 0 ELSE wait_ms END * interval '1 millisecond'
    FROM towpath.outbox AS o LEFT JOIN unnest(outbox_hold.refused, causes) AS r (seq, cause) ON r.seq = o.seq
    WHERE o.seq = ANY (seqs) AND o.shard = outbox_hold.shard AND coalesce(o.published_at, 'infinity') = 'infinity'
    ORDER BY o.topic, o.key, o.seq
    ON CONFLICT (topic, key) DO NOTHING;
    WITH gone AS (
        DELETE FROM towpath.outbox AS o
        WHERE o.seq = ANY (seqs) AND o.shard = outbox_hold.shard AND coalesce(o.published_at, 'infinity') = 'infinity'
        RETURNING o.*
    )
    INSERT INTO towpath.held_event
        (seq, shard, topic, key, id, type, source, subject, time, traceparent, tracestate, data, created_at)
    SELECT g.seq, g.shard, g.topic, g.key, g.id, g.type, g.source, g.subject, g.time, g.traceparent, g.tracestate, g.data,
           g.created_at
    FROM gone AS g;
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved;
END
$$;

-- Puts held events that are in Kafka back into the outbox, as published. For the functions below.
CREATE FUNCTION towpath.held_published(seqs bigint[]) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    WITH gone AS (DELETE FROM towpath.held_event AS e WHERE e.seq = ANY (seqs) RETURNING e.*)
    INSERT INTO towpath.outbox (seq, shard, topic, key, id, type, source, subject, time, traceparent, tracestate, data,
                                created_at, published_at)
    OVERRIDING SYSTEM VALUE
    SELECT g.seq, g.shard, g.topic, g.key, g.id, g.type, g.source, g.subject, g.time, g.traceparent, g.tracestate, g.data,
           g.created_at, clock_timestamp()
    FROM gone AS g
$$;

-- What became of held events of a shard, if `holder` still holds it under `fence`; answers whether it does. `seqs` are in
-- Kafka: their keys go on at once. `refused` were refused again, for `causes`: the keys of these wait for `waits_ms`.
CREATE FUNCTION towpath.held_settle(
    shard smallint, holder text, fence bigint, seqs bigint[], refused bigint[], causes text[], waits_ms bigint[]
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM towpath.shard_lease AS l
    WHERE l.shard = held_settle.shard AND l.holder = held_settle.holder AND l.fence = held_settle.fence FOR SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE towpath.held_key AS k SET refused = 0, retry_at = clock_timestamp()
    FROM (SELECT DISTINCT e.topic, e.key FROM towpath.held_event AS e WHERE e.seq = ANY (seqs)) AS gone
    WHERE k.topic = gone.topic AND k.key = gone.key;
    PERFORM towpath.held_published(seqs);
    UPDATE towpath.held_key AS k SET refused = k.refused + 1, cause = r.cause,
        retry_at = clock_timestamp() + r.wait_ms * interval '1 millisecond'
    FROM unnest(held_settle.refused, causes, waits_ms) AS r (seq, cause, wait_ms)
    JOIN towpath.held_event AS e ON e.seq = r.seq
    WHERE k.topic = e.topic AND k.key = e.key;
    RETURN true;
END
$$;

-- Lets keys go of which nothing is held any more, in a shard that `holder` holds under `fence`. What the outbox has of them
-- is published like all else from then on. Only the shard's publisher may: it alone moves events behind a key.
CREATE FUNCTION towpath.held_release(shard smallint, holder text, fence bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    released bigint;
BEGIN
    PERFORM FROM towpath.shard_lease AS l
    WHERE l.shard = held_release.shard AND l.holder = held_release.holder AND l.fence = held_release.fence FOR SHARE;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    -- Whoever took the last event away said that the key is due.
    DELETE FROM towpath.held_key AS k
    WHERE k.shard = held_release.shard AND k.refused = 0
      AND NOT EXISTS (SELECT FROM towpath.held_event AS e WHERE e.topic = k.topic AND e.key = k.key);
    GET DIAGNOSTICS released = ROW_COUNT;
    RETURN released;
END
$$;

-- Drops the first held event of a key for good, if it still has this number, and answers whether it did. The key goes on
-- with the next. By a person: no lease is needed.
CREATE FUNCTION towpath.held_drop(seq bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    head record;
BEGIN
    SELECT e.topic, e.key INTO head FROM towpath.held_event AS e WHERE e.seq = held_drop.seq;
    -- The key before its events, as held_settle() has it.
    PERFORM FROM towpath.held_key AS k WHERE k.topic = head.topic AND k.key = head.key FOR UPDATE;
    DELETE FROM towpath.held_event AS e WHERE e.seq = held_drop.seq AND NOT EXISTS (
        SELECT FROM towpath.held_event AS b WHERE b.topic = e.topic AND b.key = e.key AND b.seq < e.seq);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE towpath.held_key AS k SET refused = 0, retry_at = clock_timestamp()
    WHERE k.topic = head.topic AND k.key = head.key;
    RETURN true;
END
$$;

-- As before, and what it committed may have been held.
CREATE OR REPLACE FUNCTION towpath.publisher_retire(publisher text, seqs bigint[]) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    freed integer;
BEGIN
    DELETE FROM towpath.publisher AS p WHERE p.id = publisher;
    -- Leases are always locked in the order of their shards.
    PERFORM FROM towpath.shard_lease AS l WHERE l.holder = publisher ORDER BY l.shard FOR UPDATE;
    UPDATE towpath.outbox AS o SET published_at = clock_timestamp() WHERE o.seq = ANY (seqs) AND coalesce(o.published_at, 'infinity') = 'infinity';
    UPDATE towpath.held_key AS k SET refused = 0, retry_at = clock_timestamp()
    FROM (SELECT DISTINCT e.topic, e.key FROM towpath.held_event AS e WHERE e.seq = ANY (seqs)) AS gone
    WHERE k.topic = gone.topic AND k.key = gone.key;
    PERFORM towpath.held_published(seqs);
    UPDATE towpath.shard_lease AS l SET holder = NULL, fence = l.fence + 1, expires_at = '-infinity'
    WHERE l.holder = publisher;
    GET DIAGNOSTICS freed = ROW_COUNT;
    RETURN freed;
END
$$;

-- As before, and its events may be held meanwhile.
CREATE OR REPLACE FUNCTION towpath.left_trace(transaction xid8, event_id text, key text, event_ids text[]) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN left_trace.event_id IS NOT NULL THEN EXISTS (
            SELECT FROM towpath.inbox AS i
            WHERE i.event_id = left_trace.event_id AND i.xmin = left_trace.transaction::xid)
        WHEN left_trace.key IS NOT NULL THEN EXISTS (
            SELECT FROM towpath.idempotency AS i
            WHERE i.key = left_trace.key AND i.xmin = left_trace.transaction::xid)
        -- Rows of the outbox are marked later by others; their ids are made for one unit.
        WHEN cardinality(left_trace.event_ids) > 0 THEN
            EXISTS (SELECT FROM towpath.outbox AS o WHERE o.id = ANY (left_trace.event_ids))
            OR EXISTS (SELECT FROM towpath.held_event AS e WHERE e.id = ANY (left_trace.event_ids))
    END
$$;
