-- The readers of the journal: which streams each receives (JSON; empty: all), the first day of its ledger
-- (empty: as far back as there is one), and the day it was last configured (empty: it is).
CREATE TABLE reader (name TEXT PRIMARY KEY, streams TEXT NOT NULL, since TEXT NOT NULL, left TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO reader VALUES ('uplink', '', '', '');

-- A gap, or a dead letter, of one reader; empty: of all.
ALTER TABLE gap ADD COLUMN reader TEXT NOT NULL DEFAULT '';
DROP INDEX gap_of_day;
CREATE INDEX gap_of_day ON gap (day, lane, device, reason, reader, last);
ALTER TABLE dead RENAME TO old_dead;
CREATE TABLE dead (lane INTEGER NOT NULL, device TEXT NOT NULL, seq INTEGER NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL, reader TEXT NOT NULL DEFAULT '', PRIMARY KEY (reader, lane, device, seq)) STRICT, WITHOUT ROWID;
INSERT INTO dead SELECT *, '' FROM old_dead;
DROP TABLE old_dead;
