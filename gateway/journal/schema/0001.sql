-- A lane is a table; a row is a pack of records of that lane (rows.py), checked by its crc.
CREATE TABLE alarm     (pos INTEGER PRIMARY KEY AUTOINCREMENT, count INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL) STRICT;
CREATE TABLE event     (pos INTEGER PRIMARY KEY AUTOINCREMENT, count INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL) STRICT;
CREATE TABLE telemetry (pos INTEGER PRIMARY KEY AUTOINCREMENT, count INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL) STRICT;

-- How far each reader of a lane has come: every row up to pos is done with.
CREATE TABLE cursor (reader TEXT NOT NULL, lane INTEGER NOT NULL, pos INTEGER NOT NULL, PRIMARY KEY (reader, lane)) STRICT, WITHOUT ROWID;

-- The last sequence number of one device in one lane: a checkpoint, exact as of meta.checkpoint.
CREATE TABLE stream (lane INTEGER NOT NULL, device TEXT NOT NULL, written INTEGER NOT NULL, PRIMARY KEY (lane, device)) STRICT, WITHOUT ROWID;

-- The rows of the services, changed in the transaction that keeps the facts.
CREATE TABLE state (service TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (service, key)) STRICT, WITHOUT ROWID;

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', lower(hex(randomblob(4)))), ('clean', '1'), ('checkpoint', '[0,0,0]');
