// Package sqlview keeps the read models Tokens, Counts and LastUsed as tables in the host's own
// database, PostgreSQL or SQLite, where the host joins them with tables of its own.
//
//	view, err := sqlview.Open(ctx, db, sqlview.Config{Dialect: sqlview.PostgreSQL})
//	…
//	runner, err := projection.NewRunner(projection.RunnerConfig{
//		Log:         log,
//		Projections: []projection.Projection{view, history},
//	})
//
// Which tokens can push to which of the host's repositories is then a question for SQL:
//
//	SELECT h.name, s.label, s.created_by, s.last_used_at
//	FROM repositories h
//	JOIN oatmill_resources r ON r.push = TRUE AND r.path IN (h.name, h.owner || '/*')
//	JOIN oatmill_token_status s ON s.id = r.id AND s.organization = r.organization
//	WHERE s.usable = TRUE
//
// The tables are for people and programs that look. They follow the log with a delay, like
// every read model; whether a secret opens a repository is for the verifier to say.
//
// # What is promised
//
//   - Rows and position change in one transaction. Whoever reads, by whatever statement and at
//     whatever isolation level, sees the rows that the records up to one position make: that in
//     the table state, at the same moment.
//   - A transaction that fails, for want of space, by the end of a context or of the process,
//     leaves rows and position as they were, and Apply can be called with the same batch again.
//   - Any number of processes may lead the same view at once. They take turns by a lock on the
//     row of state (the write lock of the file, in SQLite); what another one has done is skipped.
//     No record is applied twice or left out.
//   - The rows depend on the records alone, as in package projection: neither batches nor
//     restarts nor the order in which uses come show in them. Uses are merged by earliest and
//     latest time, and counts are added up.
//   - Every decision is checked against the hash chain of its stream while it is folded. A record
//     that does not continue its stream, or that cannot be true, closes its organization and no
//     other one, see below.
//   - The event of a newer library stops the view before it: [events.ErrUnknownType]. Tables that
//     are not as this library left them are [events.ErrDamaged]. Errors name the record or the
//     table.
//   - The methods of [View] that ask, like [View.List], answer as those of the read models in
//     memory do, to the nanosecond. Each is one statement and sees one position.
//
// # Tables
//
// Names begin with Config.Prefix, by default "oatmill_". Moments are microseconds, UTC: of type
// timestamptz in PostgreSQL, and INTEGER microseconds since 1970 in SQLite
// (datetime(created_at / 1000000, 'unixepoch') shows one). Ids are uuid in PostgreSQL, and TEXT
// of 36 lower-case characters in SQLite. JSON is jsonb or TEXT; truth is boolean, or INTEGER 0
// and 1, which both compare with TRUE and FALSE. Columns hold NULL only where it says so. A NUL
// character, which PostgreSQL's text cannot hold, is stored as U+FFFD in both.
//
// organizations: one row each.
//
//	organization      text    its name; the key
//	plan              text
//	owners            JSON    names, in the order in which they became owners
//	registered_at     moment
//	modified_at       moment  of the last change of plan or owners
//	modified_by       text
//	modified_version  bigint  of the record that says so, in the organization's stream
//	version           bigint  of the last record that was folded of the organization's stream
//	tokens            bigint  how many it has that are not deleted
//	inactive          bigint  how many of those were deactivated
//	hash              text    of the record that version names; empty for version 0
//	closed            text    why the organization is closed; NULL when it is open
//
// tokens: one row for each that is not deleted.
//
//	id             id      with organization, the key
//	organization   text
//	label          text
//	label_folded   text    the label in lower case, by which lists are searched and sorted
//	description    text    empty when there is none
//	inactive       truth   it was deactivated
//	resources      JSON    exactly what was granted, in order: type, path, scopes
//	created_at     moment
//	created_by     text
//	expires_at     moment  NULL when it never does; rounded up to the microsecond
//	expires_nanos  bigint  by how many nanoseconds
//	expires_text   text    the expiry as it was asked for, empty when it never expires
//	modified_at    moment  of the last record about the token
//	modified_by    text
//	version        bigint  of that record, in the organization's stream
//
// resources: one row for each of a token's resources, to be joined by repository. A path of
// "ORG/*" is every repository of ORG, and "*/*/public" every public one.
//
//	id            id      with organization and ordinal, the key
//	organization  text
//	ordinal       bigint  from 0, in the order in which they were granted
//	type          text
//	path          text    "ORG/REPO", "ORG/*" or "*/*/public"; has an index
//	pull          truth   it lets pull. What is not understood, or lies outside the
//	push          truth   organization, lets do nothing, as in the verifier
//
// last_used: one row for each token that was used, or with whose secret somebody was refused.
//
//	id            id      with organization, the key
//	organization  text
//	accepted_first, accepted_last                              moment  NULL when there was none
//	accepted_count                                             bigint
//	accepted_cause, accepted_address, accepted_user_agent      text    of the latest attempt
//	refused_first, refused_last, refused_count, refused_cause,
//	refused_address, refused_user_agent                        likewise
//
// plans: the names of Config.Plans (plan, the key) and how many tokens each allows (tokens). The
// process that opened the view last has the say.
//
// state: one row. position is that of the last record in the rows, and hash is its hash; layout
// is the version of the tables, now 2; generation counts how often the tables were emptied or
// rebuilt; build is empty, or an id of the rebuild that made them.
//
// # Views
//
// They go by the clock of the database: its now(), and in SQLite the time to the millisecond.
//
// token_status: one row for each token.
//
//	id, organization, label, description,
//	created_at, created_by, expires_at, modified_at, modified_by   as in tokens
//	status         text    "active", "inactive" or "expired"
//	usable         truth   it is active, the organization is open, and its plan has tokens
//	last_used_at, last_used_from, last_used_with, used_count       when and how often it was
//	               accepted, from what address and by what program; NULL and 0 when never
//	last_refused_at, last_refused_from, last_refused_cause, refused_count
//	closed         text    why the organization is closed; NULL when it is open
//
// counts: one row for each organization: organization, plan, total, active, inactive, expired,
// token_limit, remaining, closed. A closed organization has 0 active tokens and 0 remaining ones.
//
// owners: one row for each owner of each organization that is open: organization, owner, ordinal.
//
// # Closed organizations
//
// A log can lose its newest records in a failover, be restored from a copy, or be changed without
// this library. A record then does not continue the stream that the tables hold, by its version
// or by the hash of the record before it. The organization of that record is closed: the column
// closed says why, and its further records are ignored. Its rows stay as the records before made
// them. They may lack a revocation, and so the views count none of its tokens as usable and list
// none of its owners. A host that decides by the tables themselves, or by [View.Get] and
// [View.List], checks the column too. Uses are still counted. Other organizations are not
// concerned.
//
// A runner then folds the organization again from the log ([View.Refold]): in one transaction the
// rows of the organization, its tokens, their resources and uses are replaced. If the whole stream
// is right, the organization is open again; if not, the rows are those up to the first record that
// is wrong.
//
// When the log does not have the record that state names, a runner empties the tables and fills
// them again ([View.Reset]). Other processes find the higher generation and go on from where the
// tables are. A position that is lower in the same generation means that the database was
// restored: [events.ErrDamaged], until the view is opened again.
//
// # The host's part
//
// The host may read everything, and add indexes, triggers, views, and grants. It writes to none of the
// tables; a rebuild sets right what somebody wrote all the same. Rows come and go, so that foreign
// keys that refer to them only get in the way.
//
// [Open] makes tables and views, all of them or none, and brings those of older versions up to date;
// it needs the right to create them. Tables of a newer version are [events.ErrNewer], and are left alone.
// A role that leads the view, or rebuilds it, owns the tables; one that may only read them, in PostgreSQL
// on a standby too, can open the view and ask it. Tables of layout 1 were filled without checking
// the hash chain: they are emptied, in the transaction that brings them up to date, and filled again
// from the log.
//
// In SQLite every process that writes to a file waits for the others, the log's too where it is in the
// same file. A view of many tokens that is to be rebuilt gets a file of its own. The file should be in WAL
// mode, or readers wait as well.
//
// # Rebuilding
//
// [View.Rebuild] folds the log from its beginning into a second set of tables, whose names end in
// "_next", and then makes the live ones equal to them, in one transaction. Rows that are right
// already are not written. Until that transaction commits nobody sees anything of it; then
// everybody sees all of it. The host's own indexes, views and grants stay.
//
// Runners go on meanwhile. They wait while the last transaction lasts; afterwards they find the
// position where it left it, never behind the one they had brought it to. With 10,000 tokens that
// transaction took 0.1 to 0.3 seconds on a machine with two cores, and it grows with them; the benchmark
// SQLView beside the logs measures it, and how many records a second a rebuild makes.
//
// What an interrupted rebuild leaves is not used again. The next one removes it first.
package sqlview
