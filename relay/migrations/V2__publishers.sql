-- The publishers of the outbox that may be at work: one row for each start of a relay. The id is the transactional id
-- of its producer in Kafka, and what it signs shards with (shard_lease.holder).
--
-- A publisher that doesn't renew is dead. Before anybody takes its shards, its transactional id is fenced in Kafka and
-- the last batch that it is known to have committed there is marked here: publisher_retire().
CREATE TABLE towpath.publisher (
    id         text PRIMARY KEY,
    -- The relay, by the name in relay.toml: a relay that starts again retires what it was before, at once.
    instance   text NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Takes free shards for a publisher that has not been retired, and answers all that it holds.
CREATE FUNCTION towpath.publisher_take(publisher text, shards smallint[])
RETURNS TABLE (shard smallint, fence bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    until timestamptz;
BEGIN
    -- The lock makes a retirement wait, or this call wait for the retirement and find nobody.
    SELECT p.expires_at INTO until FROM towpath.publisher AS p WHERE p.id = publisher FOR SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM FROM towpath.shard_lease AS l WHERE l.shard = ANY (shards) ORDER BY l.shard FOR UPDATE;
    UPDATE towpath.shard_lease AS l SET holder = publisher, fence = l.fence + 1, expires_at = until
    WHERE l.shard = ANY (shards) AND l.holder IS NULL;
    RETURN QUERY SELECT l.shard, l.fence FROM towpath.shard_lease AS l WHERE l.holder = publisher;
END
$$;

-- Frees all shards of a publisher, and marks `seqs` as published: what it committed in Kafka and may not have marked.
-- Only for a publisher that can't commit there any more. One statement after the other, so that each sees what was committed while
-- the one before waited for a lock.
CREATE FUNCTION towpath.publisher_retire(publisher text, seqs bigint[]) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    freed integer;
BEGIN
    DELETE FROM towpath.publisher AS p WHERE p.id = publisher;
    -- Leases are always locked in the order of their shards.
    PERFORM FROM towpath.shard_lease AS l WHERE l.holder = publisher ORDER BY l.shard FOR UPDATE;
    UPDATE towpath.outbox AS o SET published_at = clock_timestamp() WHERE o.seq = ANY (seqs) AND o.published_at IS NULL;
    UPDATE towpath.shard_lease AS l SET holder = NULL, fence = l.fence + 1, expires_at = '-infinity'
    WHERE l.holder = publisher;
    GET DIAGNOSTICS freed = ROW_COUNT;
    RETURN freed;
END
$$;
