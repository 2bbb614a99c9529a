// Package durable holds nothing. Below it are the logs that survive a restart, and here
// it is said which of them to choose when.
//
//   - [github.com/oatmill/oatmill/events/durable/sqlitelog]: a file beside the program
//   - [github.com/oatmill/oatmill/events/durable/pglog]: tables in a PostgreSQL database
//   - [github.com/oatmill/oatmill/events/durable/natslog]: a stream in a NATS JetStream cluster
//
// All three keep the whole contract of package events and pass the same suite, so that
// moving from one to another is one line of a program:
//
//	log, err := sqlitelog.Open(ctx, "events.db", sqlitelog.Config{})
//	log, err := pglog.Open(ctx, "postgres://…", pglog.Config{})
//	log, err := natslog.Open(ctx, "nats://…", natslog.Config{})
//
// The records of a running log are moved by reading them from the one and appending them
// to the other, stream by stream and in order, with the same IDs; hash chains stay what
// they were, positions do not.
//
// # Which one
//
// SQLite is for one machine, with any number of processes on it, and is where to begin:
// there is nothing to run, and a copy of one file is a backup. It must not lie on a
// network file system.
//
// PostgreSQL is for many machines, and for a host that has a PostgreSQL anyway. Only there
// can a command be part of a transaction of the host (pglog.Log.AppendTx, and
// oat.Service.Within): a repository and its token are made together or not at all. Only
// there can SQL join the log with the host's own tables.
//
// JetStream is for a log that must survive the loss of a machine by itself, without a
// database to fail over, and for a host that has a NATS cluster anyway.
//
// # What each loses in which failure
//
// An append that was acknowledged:
//
//	                          SQLite         PostgreSQL                      JetStream, 3 nodes
//	kill -9 of the program    is there       is there                        is there
//	crash of the server       –              is there                        is there, a node is enough
//	power loss of a machine   is there       is there                        is there, unless a majority loses power at once: sync_interval
//	loss of a disk            is lost        is lost; with a synchronous     is there
//	                                         standby it is there
//	failover                  –              is there on a synchronous       is there
//	                                         standby; the last ones are
//	                                         lost on an asynchronous one
//
// Where an append was under way, its caller is told events.ErrUnknownOutcome and finds
// out by appending the same again. What is written here of power loss follows from what
// disks and servers promise; everything else is tested by killing processes and servers.
//
// While the log cannot be reached, no command is carried out; verifiers answer for another
// oat.DefaultMaxStaleness and then refuse everyone.
//
// # What they cost
//
// Measured with go run ./examples/logs on a virtual machine with two cores of an AMD EPYC,
// where a program, the server and, for JetStream, all three nodes share the cores and one
// disk, whose fsync takes about 0.13 ms. Another machine has other numbers; how they relate
// is what to look at.
//
//	                         SQLite      PostgreSQL   JetStream, 3 nodes
//	one append alone, p50    0.32 ms     0.52 ms      0.32 ms
//	                  p99    0.52 ms     1.61 ms      1.48 ms
//	appends a second
//	    1 stream             4,200       2,400        3,400
//	    64 streams           38,000      32,000       24,000
//	    256 streams          53,000      36,000       25,000
//	another process woken
//	                  p50    4.5 ms      4.8 ms       3.7 ms
//	                  p99    5.2 ms      6.0 ms       4.7 ms
//
// A revocation is seen by another process about as fast as that process is woken; the
// table in the README has it as P14.
//
// # How cost grows
//
// Here an organization has 50 events: one registration, ten tokens, and records of use.
// A process that starts folds a verifier and the list of tokens from the whole log.
//
//	organizations   events      log          bytes an event   read, events/s   starts in   bytes a token   append alone
//	  1,000           0.3 M     SQLite       472              342,000          1.0 s       1,029           0.20 ms
//	 10,000           0.8 M     SQLite       439              488,000          2.5 s       1,066           0.21 ms
//	100,000           5.3 M     SQLite       413              372,000          17.5 s      1,043           0.16 ms
//	  1,000           0.3 M     PostgreSQL   1,552            475,000          0.6 s       1,012           0.35 ms
//	 10,000           0.7 M     PostgreSQL   1,410            473,000          1.7 s       1,049           0.46 ms
//	100,000           5.2 M     PostgreSQL   795              476,000          17.2 s      1,026           0.41 ms
//	  1,000           0.2 M     JetStream    1,961            94,000           2.3 s       –               0.23 ms
//	 10,000           0.7 M     JetStream    1,532            125,000          4.8 s       –               0.31 ms
//
// The bytes are those of all files, PostgreSQL's write-ahead log, which does not grow with
// the log, and JetStream's three copies included; the first lines also hold the many small
// records that the table before was measured with. Reading JetStream takes longer, because the
// answers come message by message. An append costs the same however long the
// log is, and so do commands: an organization is decided on by itself. What grows is the
// start of a process and its memory, in proportion:
//
//	            1 M organizations               10 M organizations
//	tokens      10 M                            100 M
//	events      50 M                            500 M
//	disk        50 M x 413 B = 21 GB SQLite     500 M x 413 B = 207 GB SQLite
//	            50 M x 795 B = 40 GB PostgreSQL 500 M x 795 B = 398 GB PostgreSQL
//	            50 M x 1.5 kB = 77 GB JetStream 500 M x 1.5 kB = 766 GB JetStream
//	start       50 M x 3.3 us = 2.8 min         500 M x 3.3 us = 28 min
//	            50 M x 7.2 us = 6 min JetStream 500 M x 7.2 us = 60 min JetStream
//	memory      10 M x 1.04 kB = 10 GB          100 M x 1.04 kB = 104 GB
//	verifier    10 M x 181 B = 1.8 GB           100 M x 181 B = 18 GB
//
// The last line is what a process needs that only verifies. Beyond a million organizations
// the list of tokens belongs into tables (projection/sqlview), where it is not folded anew
// at every start.
package durable
