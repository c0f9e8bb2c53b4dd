-- From where the outbox is read and cleaned, so that no read goes again through what others have done before.
--
-- An index keeps entries of rows that are gone until VACUUM takes them, and VACUUM takes none that an open snapshot might
-- still see: a dump, a replica's feedback. Whoever reads such an index from its beginning reads all of them, each time.

-- All events of the shard up to this number have been published, or are held; no lower number can still be committed.
-- The shard's publisher keeps it. Whoever sets `published_at` back to NULL by hand sets this back to 0.
ALTER TABLE towpath.shard_lease ADD COLUMN published_to bigint NOT NULL DEFAULT 0;

-- The last number that was given out, and the transactions that may not have committed theirs yet: numbers are taken in an
-- order and committed in another. A transaction that writes the outbox has its lock on the table before it takes a
-- number, and until it is visible. So once all of these have ended, whatever will ever be committed up to the number is visible.
-- The number is read first.
CREATE FUNCTION towpath.outbox_in_flight(OUT last bigint, OUT server text, OUT writers text[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT s.last_value - (NOT s.is_called)::integer INTO last FROM towpath.outbox_seq_seq AS s;
    server := pg_postmaster_start_time()::text;
    SELECT coalesce(array_agg(DISTINCT l.virtualtransaction), '{}') INTO writers
    FROM pg_locks AS l
    WHERE l.locktype = 'relation' AND l.relation = 'towpath.outbox'::regclass AND l.granted
      AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
      AND l.mode = 'RowExclusiveLock';
END
$$;

-- As before, but by the numbers alone. Asked for `published_at IS NULL`, PostgreSQL takes the index of waiting events, since few
-- wait, and goes through all entries of the shard that an open snapshot keeps; this question that index can't answer.
CREATE OR REPLACE FUNCTION towpath.outbox_settle(shard smallint, holder text, fence bigint, seqs bigint[]) RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    WITH held AS (
        SELECT l.shard FROM towpath.shard_lease AS l
        WHERE l.shard = outbox_settle.shard AND l.holder = outbox_settle.holder AND l.fence = outbox_settle.fence
        FOR SHARE
    ), settled AS (
        UPDATE towpath.outbox AS o SET published_at = clock_timestamp()
        FROM held WHERE o.shard = held.shard AND o.seq = ANY (seqs)
            AND coalesce(o.published_at, 'infinity') = 'infinity'
        RETURNING 1
    )
    SELECT count(*) FROM settled
$$;

-- How far retention has come on its walk through the blocks of a table.
CREATE TABLE towpath.retention (
    name     text PRIMARY KEY,
    position bigint NOT NULL
) WITH (fillfactor = 50);
