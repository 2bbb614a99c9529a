// Package pglog is the durable log for many processes that share a PostgreSQL database. It
// takes the place of sqlitelog with a change of one line: the path becomes an address.
//
// # What is durable
//
// An append that returned without an error is committed, and survives what a commit of the
// server survives: with PostgreSQL's defaults (fsync and synchronous_commit on) a crash of
// every process involved, of the operating system, and the loss of power, as far as the disk
// keeps what it confirmed. The log takes these settings from the database and the user, and
// says in Config.Logger when one is off; with synchronous_commit off, a crash of the server
// loses about the last half second of acknowledged appends.
//
// A failover to a standby that follows asynchronously loses what had not reached it, which
// no client can see. Whoever must not lose that needs synchronous_standby_names. After such
// a loss the log on the standby is a shorter one, and sound; followers that had read further
// are ahead of it, and must be built anew. A host with several addresses in its URL should
// add target_session_attrs=read-write.
//
// Checkpoints are as durable as records, and snapshots are too, though nobody may count on
// it.
//
// # After an error
//
// A refusal ([events.ErrConflict], [events.ErrDuplicate]) and an error that the server
// reports ([events.ErrFull], [events.ErrDenied], [events.ErrReadOnly]) leave nothing behind. When the server went
// away instead of answering, was shut down, or took longer than Config.Timeout, the error is
// [events.ErrUnknownOutcome]. Appending the same events again settles it, also when the first
// attempt is still on its way in the server: both take the same lock, and whichever comes
// second finds the other. The log connects again by itself.
//
// Where packets are dropped, as they are when a machine has lost its power, nobody is told
// for many minutes that a connection is of no use. So every call gives its connection up
// after Config.Timeout ([events.ErrUnavailable]), and the next one takes another. A verifier
// refuses everyone in between, from the moment on when it is stale: a host for which that
// is too long sets a shorter one.
//
// # Order
//
// Positions are 1, 2, 3 … without a gap. They come from one row, the counter, that each append
// locks until it is committed. So there is never a position below one that was read whose
// transaction is still open, and a reader needs neither to wait for older transactions nor to
// guess what a gap means. A sequence would not make appends wait for each other, and has lost
// events in one library after the other: whoever draws 1 and commits after 2 was read is never
// read.
//
// The price is that the database commits one append after the other. It is paid back by
// committing many at once: all appends that wait in a process go in one statement, with lists
// for columns, and share its round trip and its commit. What one of them is refused for
// touches none of the others. A process mostly needs no look at the database before: it knows
// the heads of its streams, and the statement does nothing when the log does not end with
// the record with which the process left it. While several processes append at the same
// time they decide under the counter's lock instead, which takes two round trips more.
//
// Throughput therefore grows with the number of callers in a process, and not with the number
// of processes.
//
// # The host's transactions
//
// [Log.AppendTx] appends in a transaction of the host's, so that its rows and the records are
// there together or not at all. From then until that transaction ends it has the counter's
// lock, and every other append, in all processes, waits: commit soon. [Log.Tx] is the log
// inside such a transaction, for code that takes an [events.Log].
//
// [Log.SaveCheckpointTx] saves a reader's position in the transaction of its effect. However
// often a record is delivered, its effect is then there once:
//
//	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
//		advanced, err := log.SaveCheckpointTx(ctx, tx, "group/mailer/organization", r.Position)
//		if err != nil || !advanced {
//			return err // nil when the effect is there already
//		}
//		_, err = tx.Exec(ctx, "INSERT INTO mail (recipient) VALUES ($1)", r.Actor)
//		return err
//	})
//
// The position comes first, so that of two who deal with the same record the second waits
// until it knows. After an error the record must come again, also after one that leaves open
// whether the commit came through: a handler returns it, and its message is nacked. The name
// is the one under which a Subscriber of package relay keeps the position of group mailer at
// topic organization. Under that name a restart begins behind the last effect; under one of
// its own a handler is delivered a few records more, and leaves them be. A reader that takes
// its records in another order than the log's cannot do it like this: a position stands for
// everything before it.
//
// # Waking
//
// After a group is committed, and never in an append's transaction, the log sends one NOTIFY
// with the newest position, at most 200 a second. The channel has the schema's name. Whoever
// is in [Log.Wait] listens on a connection of its own, and asks for the end every
// Config.PollInterval besides, so that a lost notification costs milliseconds. An AppendTx wakes
// nobody; call [Log.Notify] after the commit, or leave it to the poll.
//
// # Pools in transaction mode
//
// A pool like PgBouncer's in transaction mode gives each transaction another session, so that
// LISTEN and named prepared statements do not work. With Config.NoNotify the log does without
// both. Everything else holds: no session keeps anything between two transactions.
//
// # Rights
//
// The first [Open] makes the schema, for which the user needs CREATE on the database, or an
// empty schema of its own. A superuser is not needed. A user who did not make the schema
// needs USAGE on it, SELECT on all its tables, INSERT on records, UPDATE on counter, and INSERT
// and UPDATE on snapshots and checkpoints. Processes may open an empty database at the same
// time.
//
// The database must have the encoding UTF8. Names of streams are compared by their bytes,
// whatever its collation.
//
// # Damage
//
// A schema that is no log is refused and left as it is: one with other tables, one that a newer
// version laid out ([events.ErrNewer]), one that lacks a table or a key. Triggers refuse UPDATE, DELETE
// and TRUNCATE on records. They prevent accidents; the owner of the tables can take them away,
// and the next Open puts them back. Against that stand the hash chain, which
// [events.VerifyChain] checks, and heads that are noted elsewhere. ReadAll ends with
// [events.ErrDamaged] where a record is missing between two others. That the last records of a
// stream were cut off is seen by [Log.Check] and, as soon as anything follows, by ReadAll;
// VerifyChain sees it only when it is given a head that was noted before.
//
// # The schema
//
// Everything is in one schema, "oatmill" unless Config.Schema says otherwise:
//
//	layout       one row: whose this is, and the version of the layout, now 1
//	counter      one row: the position of the last record
//	records      a row per record, by position; data is the JSON that was appended, as text
//	snapshots    a row per stream
//	checkpoints  a row per name; one that is no text begins with \x and is in hexadecimal
//	log          a view for people, with data as JSON
//
// A query of one's own is plain SQL:
//
//	SELECT time, type, actor, data FROM oatmill.log WHERE stream = 'organization/acme'
//
// Column id has the bytes of a ULID as uuid. previous and hash are the hashes of the record
// before in the stream, and of the record itself.
package pglog
