-- How the sandbox provider behaves, for drills: one row. A time limit is part of it, so that one that was forgotten ends
-- by itself.
CREATE TABLE sandbox_behaviour (
    one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    -- `gone`: can't be reached. `slow`: charges, and its answer doesn't come in time. `500`, `429`: answers that.
    mode    text NOT NULL DEFAULT 'normal' CHECK (mode IN ('normal', 'gone', 'slow', '500', '429')),
    until   timestamptz NOT NULL DEFAULT '-infinity' CHECK (until < 'infinity')
);

INSERT INTO sandbox_behaviour DEFAULT VALUES;
