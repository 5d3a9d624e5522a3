-- How far each journal (its epoch) has been folded: see Cursor in aggregation.py.
CREATE TABLE cursor (epoch TEXT PRIMARY KEY, pos INTEGER NOT NULL, wall INTEGER NOT NULL, skip INTEGER NOT NULL, floor INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Who came and went in a quarter of an hour (counted since 1970), and how many of those who came were on a tour.
-- By time first: what is written together lies together, and a card is written a page at a time.
CREATE TABLE place (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE bin (at INTEGER NOT NULL, place INTEGER NOT NULL, came INTEGER NOT NULL, went INTEGER NOT NULL, tours INTEGER NOT NULL, PRIMARY KEY (at, place)) STRICT, WITHOUT ROWID;

-- When a counter began or ceased to be trustworthy; when one (or, where it is empty, every one) did not count, or what it counted is lost. Unix milliseconds.
CREATE TABLE trust (counter TEXT NOT NULL, at INTEGER NOT NULL, covered INTEGER NOT NULL, PRIMARY KEY (counter, at)) STRICT, WITHOUT ROWID;
CREATE TABLE hole (since INTEGER NOT NULL, until INTEGER NOT NULL, counter TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (since, until, counter, reason)) STRICT, WITHOUT ROWID;

-- The day's few facts as they are (JSON): attendance, drift, opening.
CREATE TABLE fact (at INTEGER NOT NULL, kind TEXT NOT NULL, device TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (at, kind, device, body)) STRICT, WITHOUT ROWID;

-- What was counted before the clock was set (a record, MessagePack): it waits until its boot knows the time.
CREATE TABLE undated (boot TEXT NOT NULL, mono INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY (boot, mono, record)) STRICT, WITHOUT ROWID;
