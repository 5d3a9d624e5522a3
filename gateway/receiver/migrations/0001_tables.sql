-- What gateways have sent, for SQL. All tables are in the schema `linli`.
--
-- (site, epoch, device, lane, seq) identifies a record for ever. Within one site, epoch, device and lane the
-- numbers run from 1 without a gap, except for those that a gap record or the ledger explains.

CREATE TABLE stream (
    id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site   text NOT NULL,
    epoch  text NOT NULL,               -- one life of a gateway's journal
    device text NOT NULL,
    lane   text NOT NULL CHECK (lane IN ('alarm', 'event', 'telemetry')),
    since  timestamptz NOT NULL DEFAULT now(),  -- when its first record arrived here
    forgotten bigint NOT NULL DEFAULT 0,        -- numbers up to this one may be missing: see forget_month
    UNIQUE (site, epoch, device, lane)
);

-- One partition for each month, made when its first record arrives; `forget_month` drops one.
-- A condition on `month` lets PostgreSQL read the partitions that are needed alone.
CREATE TABLE record (
    stream   integer NOT NULL,          -- stream.id; not declared as a reference, which would be checked row by row
    seq      bigint NOT NULL,
    month    date NOT NULL,             -- the first day, in UTC, of the month of `at`
    at       timestamptz NOT NULL,      -- by the gateway's clock
    clock    text NOT NULL,             -- its quality: synced, set, corrected; unset: `at` is wrong
    kind     text NOT NULL,
    mono     bigint NOT NULL,           -- nanoseconds since `boot`: the order within one boot
    boot     text NOT NULL,
    backfill boolean NOT NULL,          -- delayed by an outage
    data     jsonb NOT NULL,
    PRIMARY KEY (stream, seq, month)
) PARTITION BY LIST (month);

CREATE INDEX ON record USING brin (at);
CREATE INDEX ON record (stream) WHERE kind = 'gap';

-- Drop the records of the month that begins on this day, without making the report miss them.
CREATE FUNCTION forget_month(first_day date) RETURNS void LANGUAGE plpgsql SET search_path = linli AS $$
BEGIN
    UPDATE stream SET forgotten = greatest(forgotten, newest.seq)
    FROM (SELECT stream AS id, max(seq) AS seq FROM record WHERE month = first_day GROUP BY 1) AS newest
    WHERE newest.id = stream.id;
    EXECUTE format('DROP TABLE %I', 'record_' || to_char(first_day, 'YYYY_MM'));
END $$;

-- What a gateway says of itself: of the records of one of its days, how many it measured, delivered and lost.
CREATE TABLE ledger (
    site      text NOT NULL,
    epoch     text NOT NULL,
    day       text NOT NULL,            -- local date of the gateway, ISO 8601
    lane      text NOT NULL,
    device    text NOT NULL,
    measured  bigint NOT NULL,
    delivered bigint NOT NULL,
    pending   bigint NOT NULL,
    dropped   jsonb NOT NULL,           -- reason: count
    uncertain bigint NOT NULL,
    gaps      jsonb NOT NULL,           -- [[first, last, reason], ...]
    arrived   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (site, epoch, day, lane, device)
);

-- Alarms that a gateway's disk could not store: without a number, and sent again as a record once it can.
CREATE TABLE urgent (
    site    text NOT NULL,
    device  text NOT NULL,
    kind    text NOT NULL,
    boot    text NOT NULL,
    mono    bigint NOT NULL,
    at      timestamptz NOT NULL,
    clock   text NOT NULL,
    data    jsonb NOT NULL,
    PRIMARY KEY (site, device, kind, boot, mono)
);

-- The latest messages that are not of this dialect, or that the database does not accept.
CREATE TABLE rejected (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    arrived timestamptz NOT NULL DEFAULT now(),
    reason  text NOT NULL,
    topic   text NOT NULL,
    bytes   bigint NOT NULL,            -- of the whole payload
    payload bytea NOT NULL              -- its beginning
);

-- Records with the name of their stream, as a platform reads them.
CREATE VIEW named_record AS
    SELECT stream.site, stream.epoch, stream.device, stream.lane, record.*
    FROM record JOIN stream ON stream.id = record.stream;
