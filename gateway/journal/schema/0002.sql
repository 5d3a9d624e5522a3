-- The ledger: records measured by local day, as of meta.checkpoint; what never left, and why.
CREATE TABLE day (day TEXT NOT NULL, lane INTEGER NOT NULL, device TEXT NOT NULL, measured INTEGER NOT NULL, PRIMARY KEY (day, lane, device)) STRICT, WITHOUT ROWID;
CREATE TABLE gap (id INTEGER PRIMARY KEY, day TEXT NOT NULL, lane INTEGER NOT NULL, device TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL, reason TEXT NOT NULL) STRICT;

-- Records that the broker would not take, kept for a person to look at.
CREATE TABLE dead (lane INTEGER NOT NULL, device TEXT NOT NULL, seq INTEGER NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (lane, device, seq)) STRICT, WITHOUT ROWID;

-- Grow the file and its log once, so that the first days write into space that is there.
CREATE TABLE filler (x BLOB) STRICT;
INSERT INTO filler VALUES (zeroblob(1048576));
DROP TABLE filler;
