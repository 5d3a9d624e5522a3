-- How far each journal (identified by its epoch) has been aggregated: see Cursor in aggregation.py.
CREATE TABLE cursor (epoch TEXT PRIMARY KEY, pos INTEGER NOT NULL, wall INTEGER NOT NULL, skip INTEGER NOT NULL, floor INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- People who came and went in a quarter of an hour (counted since 1970), and how many of those who came were on a tour.
-- Keyed by time first, so that rows written together share a page: an SD card is written page by page.
CREATE TABLE place (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE bin (at INTEGER NOT NULL, place INTEGER NOT NULL, came INTEGER NOT NULL, went INTEGER NOT NULL, tours INTEGER NOT NULL, PRIMARY KEY (at, place)) STRICT, WITHOUT ROWID;

-- trust: when a counter became trustworthy (1) or ceased to be (0). hole: when a counter (empty: every counter) did not count, or its counts are lost. Unix milliseconds.
CREATE TABLE trust (counter TEXT NOT NULL, at INTEGER NOT NULL, covered INTEGER NOT NULL, PRIMARY KEY (counter, at)) STRICT, WITHOUT ROWID;
CREATE TABLE hole (since INTEGER NOT NULL, until INTEGER NOT NULL, counter TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (since, until, counter, reason)) STRICT, WITHOUT ROWID;

-- Facts that are stored unchanged (JSON), a few a day: attendance, drift, opening.
CREATE TABLE fact (at INTEGER NOT NULL, kind TEXT NOT NULL, device TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (at, kind, device, body)) STRICT, WITHOUT ROWID;

-- Records (MessagePack) from before the clock was set, until the time of their boot is known.
CREATE TABLE undated (boot TEXT NOT NULL, mono INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY (boot, mono, record)) STRICT, WITHOUT ROWID;
