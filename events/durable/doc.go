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
// disk, whose fsync takes about 0.1 ms. Another machine has other numbers; how they relate
// is what to look at.
//
//	                         SQLite      PostgreSQL   JetStream, 3 nodes
//	one append alone, p50    0.17 ms     0.24 ms      0.18 ms
//	                  p99    0.30 ms     0.52 ms      0.63 ms
//	appends a second
//	    1 stream             7,200       3,300        4,700
//	    64 streams           67,000      48,000       36,000
//	    256 streams          74,000      56,000       43,000
//	another process woken
//	                  p50    5.0 ms      5.4 ms       3.6 ms
//	                  p99    5.2 ms      5.7 ms       4.1 ms
//
// SQLite's appends and reads have become quicker since. Two later runs on the same machine,
// when its cores were half as fast, had these appends a second, and 640,000 and 850,000
// events a second read from SQLite, 380,000 and 390,000 from PostgreSQL, and 74,000 and
// 77,000 from JetStream:
//
//	64 streams           63,000      24,000       23,000
//	256 streams          84,000      26,000       28,000
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
//	  1,000           0.8 M     SQLite       459              554,000          1.5 s       857             0.14 ms
//	 10,000           1.2 M     SQLite       439              613,000          2.2 s       865             0.13 ms
//	100,000           5.7 M     SQLite       415              557,000          14.0 s      850             0.12 ms
//	  1,000           0.6 M     PostgreSQL   1,512            739,000          0.8 s       842             0.24 ms
//	 10,000           1.0 M     PostgreSQL   1,416            882,000          1.3 s       847             0.24 ms
//	100,000           5.5 M     PostgreSQL   786              702,000          10.5 s      833             0.24 ms
//	  1,000           0.5 M     JetStream    2,047            123,000          3.8 s       –               0.19 ms
//	 10,000           0.9 M     JetStream    1,697            190,000          5.3 s       –               0.20 ms
//	100,000           5.4 M     JetStream    1,388            207,000          25.5 s      –               0.20 ms
//
// The bytes are those of all files, PostgreSQL's write-ahead log, which does not grow with
// the log, and JetStream's three copies included; the first lines also hold the many small
// records that the table before was measured with. Reading JetStream takes longer, because the
// answers come message by message. An append costs the same however long the
// log is, and so do commands: an organization is decided on by itself. What grows is the
// start of a process and its memory, in proportion:
//
//	            1 M organizations                   10 M organizations
//	tokens      10 M                                100 M
//	events      50 M                                500 M
//	disk        50 M x 415 B = 21 GB SQLite         500 M x 415 B = 208 GB SQLite
//	            50 M x 786 B = 39 GB PostgreSQL     500 M x 786 B = 393 GB PostgreSQL
//	            50 M x 1.39 kB = 69 GB JetStream    500 M x 1.39 kB = 694 GB JetStream
//	start       50 M x 2.4 us = 2.0 min SQLite      500 M x 2.4 us = 20 min SQLite
//	            50 M x 1.9 us = 1.6 min PostgreSQL  500 M x 1.9 us = 16 min PostgreSQL
//	            50 M x 4.7 us = 3.9 min JetStream   500 M x 4.7 us = 39 min JetStream
//	memory      10 M x 0.85 kB = 8.5 GB             100 M x 0.85 kB = 85 GB
//	verifier    10 M x 184 B = 1.8 GB               100 M x 184 B = 18 GB
//
// The last line is what a process needs that only verifies. Beyond a million organizations
// the list of tokens belongs into tables (projection/sqlview), where it is not folded anew
// at every start.
package durable
