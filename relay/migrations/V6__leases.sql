-- How long each lease was taken for. With it a lease means the same whatever the database's clock does: a relay takes a
-- timer over only after it has watched the lease for so long without a renewal, by a clock of its own, and a publisher's
-- lease that ends later than so long from now was written by a clock that was ahead, and is cut.
--
-- Relays of earlier releases leave it empty; then `expires_at` alone counts, as before.
ALTER TABLE towpath.timer ADD COLUMN lease_ms bigint CHECK (lease_ms > 0);
ALTER TABLE towpath.publisher ADD COLUMN lease_ms bigint CHECK (lease_ms > 0);
