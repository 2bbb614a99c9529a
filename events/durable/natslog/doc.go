// Package natslog is the log for a host that must survive the loss of a machine: package
// events in a stream of NATS JetStream, replicated over a cluster. It wants servers of
// version 2.11 or newer and no consumer at all, however many organizations there are.
//
// # What is durable
//
// An append that returned without an error was acknowledged by the stream's leader. What
// that is worth depends on the servers, and whoever runs them chooses:
//
//   - Three replicas, the default on a cluster: a majority of the nodes has the batch in a
//     file. The loss of one machine, with its disk, loses nothing. Servers write
//     without fsync and call it every two minutes (sync_interval), so that
//     the loss of power at a majority of the nodes at once can lose what was acknowledged
//     in the last two minutes.
//   - One replica, the default without a cluster: the batch is in a file of one server. A
//     crash of the server loses nothing, a crash of its operating system or the loss of
//     power can lose the last two minutes, and the loss of the disk loses all.
//   - "sync: always" in the servers' configuration (jetstream { sync_interval: always }) has
//     them fsync before they acknowledge. Then the loss of power loses nothing in either
//     case. On one server it makes each append as slow as an fsync.
//
// A stream that the server keeps in memory, or that may drop, delete or overwrite messages, is
// refused when the log is opened ([ErrSettings]). The server refuses to delete single
// messages and to purge the stream, and cannot be told to allow it. Whoever may delete the
// stream as a whole can still do that, and rewrite it; against that stand heads that
// are noted elsewhere ([events.VerifyChain]).
//
// # When servers fail
//
// While a stream has no leader, which takes 4 to 10 seconds after its leader was lost, and
// for as long as a majority of its nodes is away, calls wait: until their context ends,
// and at most for Config.Timeout. Then nothing was appended, which is
// [events.ErrUnavailable], or a message was sent and nothing more was heard of it, which is
// [events.ErrUnknownOutcome]; appending the same events again tells. Before an append ends
// like that, the log has tried to find out by itself, by reading the stream and by sending
// the same message again. That is safe, because each message says which one it must
// follow: of all copies that are under way at most one is taken, and none when another
// batch has come between. The server's codes for that only make the log look (10071) or try
// once more, because another message is still on its way (10164); a [*events.ConflictError]
// is returned when the stream, read from its leader, is at another version.
//
// A node that is cut off from the others does not know that for some seconds, and if it led
// it goes on answering. It acknowledges nothing. Every call that says where the log or a
// stream ends (reads, [Log.Head], [Log.End] and an append that conflicts) asks the node that
// answered whether it leads (STREAM.INFO), and does not trust one that has not heard of a
// majority for 2 seconds, which is less than the others take to elect another. So no call
// returns an end that is older than what was acknowledged before; on such a node calls wait,
// and end with [ErrUnavailable]. When that goes on, a connection that [Open] made moves to
// another server, if it knows one, also while it opens the log; give it several addresses.
//
// That is a lease by the clocks of the servers, because JetStream has no read that a
// majority confirms. It does not hold while a network lets a leader reach some followers and
// not others, of which one is elected: until the old leader hears of that from a follower,
// at its next heartbeat within a second, a call that reaches it may return what it has.
//
// # What others append
//
// Any number of processes may have the log open. Each remembers where the streams it
// appends to end, so that the usual append is one request; when another process came
// between, it finds out by the refusal, and reads on.
//
// Reads ask the leader where the log or the stream ends and then fetch pages from any
// node. A node that lags behind gives less than there must be, and is asked again.
//
// A process says when it has appended, on the subject PREFIX.appended, and [Log.Wait]
// listens and asks the leader at once. Where that word is lost, Wait finds out by itself
// after Config.PollInterval.
//
// # Event IDs
//
// Within one stream every ID that is taken is seen. For that the first append of a process to
// a stream reads the stream through once, and keeps the IDs (Config.MaxKnownIDs). That took a
// quarter of a second for 6,000 batches where three nodes and the process shared two busy
// cores. JetStream has no index to look an ID up in: one
// message more for each event, on a subject of its own, would be one, and cost the
// servers memory for every event there ever was. So an ID that another stream has is refused
// only if it is that of a batch's first event and comes again as the first within
// Config.Duplicates; otherwise it goes unseen.
//
// # Limits
//
// A message may be as large as the server allows (max_payload, 1 MiB by default), and the
// log wants that to be 640 KiB or more. A batch that is larger, because hundreds of events
// come with long texts, is stored in pieces before the message that makes them count. Pieces
// of an append that failed stay behind and take space.
//
// Positions are the sequence of the message times 1024, plus the place in the batch. They
// have gaps, and last for 2^53 messages.
//
// # Rights
//
// With PREFIX as Config.Subject and STREAM as Config.Stream, a user must be allowed to
// publish to PREFIX.> and to
//
//	$JS.API.STREAM.INFO.*  $JS.API.STREAM.CREATE.*  $JS.API.STREAM.MSG.GET.*  $JS.API.DIRECT.GET.*
//	$JS.API.STREAM.PURGE.STREAM-beside
//
// and to subscribe to _INBOX.> and PREFIX.appended. A user who only reads still is asked
// for the right to append when the log is opened. CREATE is not needed where the streams
// are there, and PURGE only frees the space of large snapshots that were replaced.
//
// # The streams
//
// In STREAM each message is one batch, on the subject PREFIX.log.KIND.NAME, where a dot in
// the name is written as "=". Its headers:
//
//	Oatmill-Batch   format, version of the first record, hash of the last, with blanks between; the format is now 1
//	Nats-Msg-Id     the ID of the first event
//	Oatmill-Ids     the IDs of all events, where there are several
//	Oatmill-Parts   the sequences of the pieces that hold the body, where it is not here
//	Nats-Expected-Last-Subject-Sequence   the sequence of the batch before it
//
// Its body has two lines for each record: a JSON object with type, time, actor, correlation,
// causation, reason, previous (the hash of the record before) and size, where empty ones are
// left out; then size bytes of data as they were appended. Pieces stand on PREFIX.part.ID.
//
// STREAM-beside keeps the last message of each of these subjects:
//
//	PREFIX.checkpoint.BASE64URL             a position, in decimal
//	PREFIX.snapshot.KIND.NAME               a JSON object about the snapshot, a newline, its data
//	PREFIX.piece.KIND.NAME.PLACE.NUMBER     pieces of data that did not fit
package natslog
