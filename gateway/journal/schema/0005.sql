-- The epoch of a journal in memory that was merged into this one; empty: of this one. The columns of a key come
-- first, in its order: SQLite 3.40 takes other tables without rowid for damaged (quick_check).
ALTER TABLE gap ADD COLUMN epoch TEXT NOT NULL DEFAULT '';
DROP INDEX gap_of_day;
CREATE INDEX gap_of_day ON gap (day, lane, device, reason, reader, epoch, last);
ALTER TABLE day RENAME TO old_day;
CREATE TABLE day (day TEXT NOT NULL, lane INTEGER NOT NULL, device TEXT NOT NULL, epoch TEXT NOT NULL DEFAULT '', measured INTEGER NOT NULL, PRIMARY KEY (day, lane, device, epoch)) STRICT, WITHOUT ROWID;
INSERT INTO day (day, lane, device, measured) SELECT day, lane, device, measured FROM old_day;
DROP TABLE old_day;
ALTER TABLE dead RENAME TO old_dead;
CREATE TABLE dead (reader TEXT NOT NULL DEFAULT '', lane INTEGER NOT NULL, device TEXT NOT NULL, epoch TEXT NOT NULL DEFAULT '', seq INTEGER NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (reader, lane, device, epoch, seq)) STRICT, WITHOUT ROWID;
INSERT INTO dead (reader, lane, device, seq, reason, body, crc) SELECT reader, lane, device, seq, reason, body, crc FROM old_dead;
DROP TABLE old_dead;
