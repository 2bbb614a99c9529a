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
// [events.ErrFull] and certain. The log goes on by itself when there is space again.
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
// Triggers refuse UPDATE and DELETE on records. They prevent accidents. Whoever can
// write the file can also drop them; against that stand the hash chain, which
// [events.VerifyChain] checks, and heads that are noted elsewhere. Guards that are
// missing are put back when the file is opened.
//
// # The file
//
// The header has application_id 0x6f61746d ("oatm") and the layout's version in
// user_version, now 2. Positions are 1, 2, 3 … without gaps. For people there is the
// view log, with the names of streams and readable times:
//
//	SELECT time, type, actor, data FROM log WHERE stream = 'organization/acme'
//
// Tables:
//
//	streams      a row per stream: key, name, head (version and hash), tail
//	blocks       where the records of a stream stand: lists of 32 places each
//	records      a row per record, by position; data is the JSON that was appended
//	snapshots    a row per stream
//	checkpoints  a row per name
//
// The places of the last, not yet 32, records of a stream are in its tail. A list of
// places is a JSON array: a number above zero is a position, and -n is the position n
// after the one before it. Tables, views and indexes of the host's own are left alone.
//
// Layout 1 had only positions in its lists. A file in it becomes one in layout 2 when it
// is opened, without being rewritten. Programs that know only layout 1 refuse it from then
// on; those that have it open must be started anew with this version.
package sqlitelog
