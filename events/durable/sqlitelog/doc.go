// Package sqlitelog is the embedded durable log: package events in one SQLite file,
// with SQLite in pure Go and nothing to install.
//
// # What is durable
//
// An append that returned without an error survives the end of the process, a crash of
// the operating system and the loss of power, as far as the disk keeps what it
// confirmed to fsync. The file is in WAL mode with synchronous=FULL: each commit writes
// to the write-ahead log and syncs it. Checkpoints ([Log.SaveCheckpoint]) are as durable
// as records. Snapshots are too, though nobody may count on it.
//
// All appends that wait at the same time share one transaction and one fsync. The more
// callers append, the less each of them pays.
//
// After an error nothing is or will be in the log, with one exception. When the
// operating system reports a failure during the commit itself, the transaction may be
// in the WAL and come to light when the file is recovered; the error then is
// [events.ErrUnknownOutcome], and appending the same events again tells. A full disk is
// [events.ErrFull] and certain. The log goes on by itself when there is space again. A log can be
// opened and read while the disk is full, because the files -wal (empty) and -shm stay when
// it is closed.
//
// # Processes and file systems
//
// Several processes of one machine may open the file, and several logs in one process.
// Writers take turns: BEGIN IMMEDIATE gives positions in commit order, and each looks
// at what others committed before it decides about versions and IDs. A writer waits for
// its turn for at most Config.BusyTimeout; then its append ends with [events.ErrBusy] and left
// nothing behind. Readers never wait for writers, nor writers for readers, because a
// read is in a transaction only while it fetches a page. [Log.Wait] finds the appends of
// other processes by looking every Config.PollInterval, and only while somebody waits.
//
// Open creates the file for its owner alone (mode 0600, whatever the umask is), and leaves the
// mode of a file that is there as it is. The files -wal and -shm get the mode of the file.
//
// The file and the two next to it must not be moved, replaced or deleted while a log has them
// open. When that happens, every call returns an error that names the file, until the files are
// back; if another file was in the place of one, until the log is opened again. What was
// appended last may be in the -wal file only, so all three belong together. Close leaves all
// files as they are then. An append that was under way is [events.ErrUnknownOutcome]. A log does not notice that the file's content was overwritten in
// place, and SQLite applies a -wal file to any database of its name: close all logs before
// a backup is put in the place of the file, and delete its -wal file.
//
// The file must not be on a network file system. The processes share memory beside it
// (the -shm file), which works on one machine only, and the locks of network file
// systems are not to be trusted with it.
//
// A process that has the log open must not open and close the file by other means than
// SQLite. On most systems that drops the locks SQLite holds for the whole process.
//
// # Backup
//
// Copying the file while it is in use gives a broken copy, and one without its WAL lacks
// the newest records. Use SQLite: VACUUM INTO 'copy.db' from any other process, or
// SQLite's backup API. Both give a log that opens. After every process has closed the
// log, the file alone is complete, and may be copied and moved.
//
// # Damage
//
// A file that is no log is refused when it is opened, and left as it is: no SQLite
// database, another application's, one that a newer version laid out ([events.ErrNewer]), one
// that lacks a table. Damaged pages show when they are read. All of these are
// [events.ErrDamaged] and name the file. [Log.Check] reads all of the file and compares
// its parts.
//
// Each record is stored with its hash, and the counter says where the log ends.
//
//   - A record that was changed is refused by everything that folds its stream
//     ([events.Head.Advance]). Other streams can be read.
//   - Records that are missing end [Log.ReadAll] with a [*events.MissingError], also at the
//     end of the log. A reader can go on behind them.
//   - A row beyond the counter is not part of the log: no read returns it. The next append
//     to its stream or at its position is refused as damage, and names the row. Delete the
//     row (which takes dropping a trigger) to append again.
//
// Triggers refuse UPDATE and DELETE on records. They prevent accidents. INSERT OR REPLACE
// passes them, and someone who can write the file can also drop them, append records with
// the counter, or write a stream and all its hashes again. Only heads that were noted elsewhere show the latter; see
// [events.VerifyChain]. Triggers that are missing are put back when the file is opened.
//
// # The file
//
// The header has application_id 0x6f61746d ("oatm") and the layout's version in
// user_version, now 3. Positions are 1, 2, 3 … without gaps. For people there is the
// view log, with readable times:
//
//	SELECT time, type, actor, data FROM log WHERE stream = 'organization/acme'
//
// Tables:
//
//	records      a row per record, by position; data is the JSON that was appended
//	counter      one row: the position of the last record
//	snapshots    a row per stream
//	checkpoints  a row per name
//
// Tables, views and indexes of the host's own are left alone.
//
// # Layouts 1 and 2
//
// No release wrote the layouts 1 and 2, and files in them are refused. To carry the records
// of such a file over, open a log in a new file and close it, so that it is laid out, and
// run this SQL on the new file while neither is in use:
//
//	ATTACH 'old.db' AS old;
//	BEGIN IMMEDIATE;
//	INSERT INTO records
//	  SELECT position, name, r.version, id, type, time, actor, correlation, causation, reason, previous,
//	    coalesce(lead(previous) OVER (PARTITION BY stream ORDER BY r.version), s.hash), data
//	  FROM old.records AS r JOIN old.streams AS s USING (stream) ORDER BY position;
//	UPDATE counter SET position = (SELECT count(*) FROM records);
//	INSERT INTO snapshots SELECT * FROM old.snapshots;
//	INSERT INTO checkpoints SELECT * FROM old.checkpoints;
//	COMMIT;
//
// Afterwards [Log.Check] compares every record with its hash.
package sqlitelog
