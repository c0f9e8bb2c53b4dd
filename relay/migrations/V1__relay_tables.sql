-- The relay's own tables. They run as the role of relay_url, which owns them; a service's role reaches them only
-- through the functions at the end, which run as their owner.
--
-- An applied file never changes. A later one widens first and narrows when no running relay needs the old shape: the
-- relay that is being replaced works on with the new schema.

-- What units of work said and Kafka may not have yet.
--
-- Order per key is the order of `seq`: outbox_append() below locks the key until the transaction ends, so that within
-- a key nobody commits a lower number after a higher one. Across keys there is no order.
CREATE TABLE towpath.outbox (
    seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- All events of one (topic, key) stand in one shard; a shard is published by one relay at a time.
    shard        smallint NOT NULL CHECK (shard BETWEEN 0 AND 15),
    topic        text NOT NULL,
    key          text NOT NULL,
    -- The attributes of a CloudEvent.
    id           text NOT NULL,
    type         text NOT NULL,
    source       text NOT NULL,
    subject      text,
    time         timestamptz NOT NULL,
    traceparent  text,
    tracestate   text,
    -- JSON as text: it goes to Kafka byte for byte, and jsonb would refuse "\u0000".
    data         text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1);

CREATE INDEX outbox_unpublished ON towpath.outbox (shard, seq) WHERE published_at IS NULL;

-- The events that the service has handled.
CREATE TABLE towpath.inbox (
    event_id   text PRIMARY KEY CHECK (octet_length(event_id) BETWEEN 1 AND 255),
    handled_at timestamptz NOT NULL DEFAULT now()
);
-- Rows come in the order of time, so a block range index finds the old ones and costs an insert next to nothing.
CREATE INDEX inbox_handled_at ON towpath.inbox USING brin (handled_at) WITH (pages_per_range = 16, autosummarize = on);

-- The first answer under each idempotency key.
CREATE TABLE towpath.idempotency (
    key          text PRIMARY KEY CHECK (octet_length(key) BETWEEN 1 AND 255),
    request_hash text NOT NULL,
    -- JSON as text, so that it comes back as it went in.
    answer       text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idempotency_created_at ON towpath.idempotency USING brin (created_at)
    WITH (pages_per_range = 16, autosummarize = on);

-- Who publishes a shard. `fence` grows with every change of holder: a statement that names the fence it was given
-- changes nothing once somebody else holds the shard. See outbox_settle().
CREATE TABLE towpath.shard_lease (
    shard      smallint PRIMARY KEY CHECK (shard BETWEEN 0 AND 15),
    holder     text,
    fence      bigint NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT '-infinity',
    CHECK (holder IS NOT NULL OR expires_at = '-infinity')
) WITH (fillfactor = 50);
INSERT INTO towpath.shard_lease (shard) SELECT generate_series(0, 15);

-- When each timer is due next, and who is calling its route. Fenced as the shards are.
CREATE TABLE towpath.timer (
    name       text PRIMARY KEY,
    next_due   timestamptz NOT NULL,
    holder     text,
    fence      bigint NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT '-infinity',
    CHECK (holder IS NOT NULL OR expires_at = '-infinity')
) WITH (fillfactor = 50);

-- Marks events of a shard as published, if `holder` still holds it under `fence`, and answers how many it marked.
-- The lock on the lease's row makes a takeover wait until this transaction ends, so nothing comes between the check
-- and the change. For the relay alone.
CREATE FUNCTION towpath.outbox_settle(shard smallint, holder text, fence bigint, seqs bigint[]) RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    WITH held AS (
        SELECT l.shard FROM towpath.shard_lease AS l
        WHERE l.shard = outbox_settle.shard AND l.holder = outbox_settle.holder AND l.fence = outbox_settle.fence
        FOR SHARE
    ), settled AS (
        UPDATE towpath.outbox AS o SET published_at = clock_timestamp()
        FROM held WHERE o.shard = held.shard AND o.seq = ANY (seqs) AND o.published_at IS NULL
        RETURNING 1
    )
    SELECT count(*) FROM settled
$$;

-- Deletes at most `most` rows of each kind that nobody needs any longer, and answers how many there were. For the
-- relay alone.
CREATE FUNCTION towpath.purge(
    outbox_before timestamptz, inbox_before timestamptz, idempotency_before timestamptz, most integer
) RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    WITH old_events AS (
        DELETE FROM towpath.outbox WHERE seq = ANY (ARRAY(
            SELECT o.seq FROM towpath.outbox AS o WHERE o.published_at < outbox_before ORDER BY o.seq LIMIT most
            FOR UPDATE SKIP LOCKED))
        RETURNING 1
    ), old_inbox AS (
        DELETE FROM towpath.inbox WHERE event_id = ANY (ARRAY(
            SELECT i.event_id FROM towpath.inbox AS i WHERE i.handled_at < inbox_before LIMIT most
            FOR UPDATE SKIP LOCKED))
        RETURNING 1
    ), old_answers AS (
        DELETE FROM towpath.idempotency WHERE key = ANY (ARRAY(
            SELECT a.key FROM towpath.idempotency AS a WHERE a.created_at < idempotency_before LIMIT most
            FOR UPDATE SKIP LOCKED))
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM old_events) + (SELECT count(*) FROM old_inbox) + (SELECT count(*) FROM old_answers)
$$;

-- What follows is for the service's role. It raises errors of a class of its own, `TP`, because an error aborts the
-- transaction: the steps that the relay has already sent behind the call then run no more.
--   TP001  the event has been handled
--   TP002  the idempotency key was used by the same request
--   TP003  the idempotency key was used by another request
--   TP004  the idempotency key is in flight

-- Records that this transaction handles an event. Waits for another transaction that handles the same one.
CREATE FUNCTION towpath.inbox_claim(event_id text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO towpath.inbox (event_id) VALUES (inbox_claim.event_id) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the event has been handled' USING ERRCODE = 'TP001';
    END IF;
    RETURN true;
END
$$;

-- Takes an idempotency key for this transaction and stores the answer that a later request with it gets. Doesn't wait:
-- a key that another transaction holds is in flight.
CREATE FUNCTION towpath.idempotency_claim(key text, request_hash text, answer text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    first_hash text;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended(idempotency_claim.key, 7301)) THEN
        RAISE EXCEPTION 'the idempotency key is in flight' USING ERRCODE = 'TP004';
    END IF;
    INSERT INTO towpath.idempotency AS i (key, request_hash, answer)
    VALUES (idempotency_claim.key, idempotency_claim.request_hash, idempotency_claim.answer)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN true;
    END IF;
    SELECT i.request_hash INTO first_hash FROM towpath.idempotency AS i WHERE i.key = idempotency_claim.key;
    IF first_hash = idempotency_claim.request_hash THEN
        RAISE EXCEPTION 'the idempotency key was used by the same request' USING ERRCODE = 'TP002';
    END IF;
    RAISE EXCEPTION 'the idempotency key was used by another request' USING ERRCODE = 'TP003';
END
$$;

-- The answer that is stored under a key, to the request with this hash.
CREATE FUNCTION towpath.idempotency_answer(key text, request_hash text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT i.answer FROM towpath.idempotency AS i
    WHERE i.key = idempotency_answer.key AND i.request_hash = idempotency_answer.request_hash
$$;

-- Appends the events of one transaction, in the order of the arrays, and answers the shards that it touched as a set
-- of bits. The keys are locked before a number is taken and until the transaction ends, in the order of their hashes:
-- so per key the order of commit is the order of numbers, and two transactions with several keys don't deadlock here.
CREATE FUNCTION towpath.outbox_append(
    topics text[], keys text[], ids text[], types text[], subjects text[], datas text[],
    source text, occurred_at timestamptz, traceparent text, tracestate text
) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    slots   bigint[];
    slot    bigint;
    locked  boolean;
    touched integer := 0;
BEGIN
    FOR n IN 1 .. cardinality(topics) LOOP
        slots[n] := hashtextextended(topics[n] || E'\x1f' || keys[n], 7302);
        touched := touched | (1 << (slots[n] & 15)::integer);
    END LOOP;
    -- One key, as nearly always, needs no order. Expressions like these run without a query of their own.
    IF cardinality(slots) = 1 THEN
        locked := pg_advisory_xact_lock(slots[1]) IS NOT NULL;
    ELSE
        FOR slot IN SELECT DISTINCT s FROM unnest(slots) AS s ORDER BY s LOOP
            locked := pg_advisory_xact_lock(slot) IS NOT NULL;
        END LOOP;
    END IF;
    FOR n IN 1 .. cardinality(topics) LOOP
        INSERT INTO towpath.outbox (shard, topic, key, id, type, source, subject, time, traceparent, tracestate, data)
        VALUES ((slots[n] & 15)::smallint, topics[n], keys[n], ids[n], types[n], outbox_append.source, subjects[n],
                outbox_append.occurred_at, outbox_append.traceparent, outbox_append.tracestate, datas[n]);
    END LOOP;
    RETURN touched;
END
$$;
