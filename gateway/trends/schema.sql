CREATE TABLE point (id INTEGER PRIMARY KEY, device TEXT NOT NULL, point TEXT NOT NULL, UNIQUE (device, point)) STRICT;

-- The statistics of one point and one local day (days since 0001-01-01), packed: see packing.py.
CREATE TABLE day (day INTEGER NOT NULL, point INTEGER NOT NULL, bins BLOB NOT NULL, PRIMARY KEY (day, point)) STRICT, WITHOUT ROWID;

-- The last value of each point, from when on it has not been counted yet, and until when it is known at most (Unix milliseconds).
CREATE TABLE held (device TEXT NOT NULL, point TEXT NOT NULL, value REAL NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (device, point)) STRICT, WITHOUT ROWID;

-- How far each journal has been read: its position, the newest time, and until when it is counted already.
CREATE TABLE cursor (epoch TEXT PRIMARY KEY, position INTEGER NOT NULL, newest_ms INTEGER NOT NULL, skip_until_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Days before this one hold one bin each.
CREATE TABLE thinned (before INTEGER NOT NULL) STRICT;
INSERT INTO thinned VALUES (0);
