"""The SQL of the receiver, besides the schema in `migrations/`."""

from __future__ import annotations

STAGING = """CREATE TEMP TABLE arriving (
    stream integer, seq bigint, month date, at_ms bigint, clock text, kind text, mono bigint, boot text,
    backfill boolean, data jsonb
) ON COMMIT DELETE ROWS"""
STAGED = """CREATE TEMP VIEW staged AS SELECT
    stream, seq, month, to_timestamp(at_ms::float8 / 1000) AS at, clock, kind, mono, boot, backfill, data
    FROM arriving"""
COPY_STAGING = "COPY arriving FROM STDIN"
INSERT_RECORDS = """INSERT INTO record
    SELECT DISTINCT ON (stream, seq) * FROM staged
    WHERE clock IN ('synced', 'set') ORDER BY stream, seq ON CONFLICT DO NOTHING"""
"""In the order of the key, so that receivers with the same records wait for each other, and not in a
circle."""
LOCK_REDATED = """SELECT FROM stream
    WHERE id IN (SELECT stream FROM arriving WHERE clock NOT IN ('synced', 'set'))
    ORDER BY id FOR UPDATE"""
"""A record of a clock that was not set may come once more with its time corrected, in another month, and to
another receiver."""
INSERT_REDATED = """INSERT INTO record
    SELECT new.* FROM (
        SELECT DISTINCT ON (stream, seq) * FROM staged
        WHERE clock NOT IN ('synced', 'set') ORDER BY stream, seq, clock <> 'corrected'
    ) AS new LEFT JOIN LATERAL (
        SELECT true AS known FROM record WHERE (record.stream, record.seq) = (new.stream, new.seq) LIMIT 1
    ) AS stored ON true WHERE known IS NULL ON CONFLICT DO NOTHING"""
INSERT_LEDGER = """INSERT INTO ledger
    (site, epoch, day, lane, device, measured, delivered, pending, dropped, uncertain, gaps)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (site, epoch, day, lane, device) DO UPDATE SET
    (measured, delivered, pending, dropped, uncertain, gaps, arrived) = (excluded.measured,
    excluded.delivered, excluded.pending, excluded.dropped, excluded.uncertain, excluded.gaps, now())
    WHERE (excluded.measured, -excluded.pending) >= (ledger.measured, -ledger.pending)"""
"""A ledger that another receiver had longer does not replace a newer one."""
INSERT_URGENT = """INSERT INTO urgent (site, device, kind, boot, mono, at, clock, data)
    VALUES (%s, %s, %s, %s, %s, to_timestamp(%s::float8 / 1000), %s, %s::jsonb) ON CONFLICT DO NOTHING"""
INSERT_REJECTED = "INSERT INTO rejected (reason, topic, bytes, payload) VALUES (%s, %s, %s, %s)"
PRUNE_REJECTED = "DELETE FROM rejected WHERE id <= (SELECT max(id) FROM rejected) - %s"
INSERT_STREAMS = """INSERT INTO stream (site, epoch, device, lane)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) ORDER BY 1, 2, 3, 4
    ON CONFLICT DO NOTHING"""
SELECT_STREAMS = """SELECT id, site, epoch, device, lane FROM stream
    JOIN unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS wanted (site, epoch, device, lane)
    USING (site, epoch, device, lane)"""
CREATE_PARTITION = "CREATE TABLE {name} (LIKE record)"
ATTACH_PARTITION = "ALTER TABLE record ATTACH PARTITION {name} FOR VALUES IN ({month})"
"""Apart, as CREATE TABLE … PARTITION OF would wait for everyone who reads `record`."""
CREATE_MIGRATION = """CREATE TABLE IF NOT EXISTS migration
    (number integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())"""
SELECT_COUNTS = """SELECT site, epoch, device, lane, day, count FROM (
        SELECT stream, (at AT TIME ZONE %(timezone)s)::date AS day, count(*) AS count
        FROM record WHERE month = ANY(%(months)s) AND at >= %(first)s AND at < %(end)s
        AND (%(site)s = '' OR stream IN (SELECT id FROM stream WHERE site = %(site)s)) GROUP BY 1, 2
    ) AS counted JOIN stream ON id = stream"""
SELECT_HOLES = """WITH numbered AS (
        SELECT stream, seq, at, lag(seq) OVER (PARTITION BY stream ORDER BY seq) AS previous
        FROM record WHERE month = ANY(%(months)s) AND at >= %(first)s AND at < %(end)s
        AND (%(site)s = '' OR stream IN (SELECT id FROM stream WHERE site = %(site)s))
    ), edges AS (
        SELECT stream, at, seq - 1 AS last, 1 + coalesce(previous, greatest(forgotten, (
            SELECT seq FROM record AS earlier
            WHERE earlier.stream = numbered.stream AND earlier.seq < numbered.seq ORDER BY seq DESC LIMIT 1
        ))) AS first
        FROM numbered JOIN stream ON id = stream WHERE previous IS DISTINCT FROM seq - 1
    )
    SELECT site, epoch, device, lane, (at AT TIME ZONE %(timezone)s)::date, lower(hole), upper(hole) - 1
    FROM edges JOIN stream ON id = stream, LATERAL unnest(
        int8multirange(int8range(first, last, '[]')) - coalesce((
            SELECT range_agg(int8range(seq, seq, '[]')) FROM record AS stored
            WHERE stored.stream = edges.stream AND seq BETWEEN first AND last
        ), '{}')
    ) AS hole WHERE first <= last ORDER BY 1, 2, 3, 4, 6"""
"""A number that seems to be missing may be that of a record with a time outside of these days."""
SELECT_GAPS = """SELECT site, epoch, device, data FROM record JOIN stream ON id = stream
    WHERE kind = 'gap' AND lane = 'event'
    AND (site, coalesce(nullif(data->>'epoch', ''), epoch))
    IN (SELECT * FROM unnest(%(sites)s::text[], %(epochs)s::text[])) ORDER BY id, seq"""
SELECT_LEDGER = """SELECT site, epoch, device, lane, day, delivered, pending, dropped, gaps,
        coalesce((SELECT seq FROM record WHERE stream = id ORDER BY seq DESC LIMIT 1), 0),
        EXISTS (
            SELECT FROM stream AS other WHERE other.site = ledger.site AND other.epoch <> ledger.epoch
            GROUP BY other.epoch HAVING min(other.since) > (
                SELECT max(own.since) FROM stream AS own
                WHERE (own.site, own.epoch) = (ledger.site, ledger.epoch)
            )
        )
    FROM ledger LEFT JOIN stream USING (site, epoch, device, lane)
    WHERE %(site)s IN ('', site) AND (day BETWEEN %(first_day)s AND %(last_day)s
    OR (site, epoch) IN (SELECT * FROM unnest(%(sites)s::text[], %(epochs)s::text[])))"""
SELECT_REJECTED = "SELECT reason, count(*) FROM rejected GROUP BY reason ORDER BY reason"
