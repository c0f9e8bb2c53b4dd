-- Whether the transaction with this id left what a unit of work writes of itself. Transaction ids alone don't tell after
-- a crash: those whose beginning wasn't yet on disk are given out again, and then stand for somebody else's work.
--
-- Asked with what the unit had: the event that it handled, else its idempotency key, else the ids of its events. Without
-- any of them there is no trace, and the answer is null.
CREATE FUNCTION towpath.left_trace(transaction xid8, event_id text, key text, event_ids text[]) RETURNS boolean
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
        WHEN cardinality(left_trace.event_ids) > 0 THEN EXISTS (
            SELECT FROM towpath.outbox AS o WHERE o.id = ANY (left_trace.event_ids))
    END
$$;
