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
// Where an append was under way, its caller is told [events.ErrUnknownOutcome] and finds
// out by appending the same again. What is written here of power loss follows from what
// disks and servers promise; everything else is tested by killing processes and servers.
//
// While the log cannot be reached, no command is carried out; verifiers answer for another
// oat.DefaultMaxStaleness and then refuse everyone.
package durable
