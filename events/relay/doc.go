// Package relay carries the records of an [events.Log] into Watermill, the one
// place in this module that knows it.
//
// There are two ways out, and they can be used side by side:
//
//   - [Relay] publishes a log to a [message.Publisher], so that other services
//     read it from Kafka, NATS, AMQP or whatever else Watermill has a publisher
//     for. A projection runner feeds it; a Relay has the shape of a projection.
//   - [Subscriber] is a [message.Subscriber] over the log itself, so that a
//     [message.Router] runs handlers on it in this process, with no broker between.
//
// # Messages
//
// [ToMessage] makes a message of a record and [FromMessage] makes the same record of
// it again, losing nothing. The message's UUID is the event's ID, its payload is
// [events.Envelope.Data] byte for byte, and its metadata holds the rest:
//
//	oatmill_type         "token.generated.v1"
//	oatmill_stream       "organization/acme"
//	oatmill_version      "17", decimal
//	oatmill_position     "4711", decimal
//	oatmill_time         "2026-01-02T03:04:05.678901Z", always six digits and Z
//	oatmill_previous     64 hexadecimal digits, zeros for the first of a stream
//	oatmill_actor        text, absent when empty
//	oatmill_correlation  text, absent when empty
//	oatmill_causation    the ID of an event, absent when there is none
//	oatmill_reason       text, absent when empty
//	correlation_id       the same as oatmill_correlation, where Watermill's own
//	                     middleware looks for it; never read back
//
// Text is what a person or a host chose, and may hold line breaks, which some
// brokers' headers lose or choke on. In text, control characters, the percent sign, and blanks at
// either end are therefore written as "%" and two upper-case hexadecimal digits.
// All other text is itself.
//
// Every value has one form. FromMessage refuses another one ("07", "+7", a time in
// another zone) and whatever no log could hold, with an error that matches
// [events.ErrInvalid] and names the message and the field. Where a value may be
// absent, an empty one is the same. Metadata it does not know, such as what a poison
// queue adds, it leaves alone.
//
// A message has a payload of its own: handlers and publishers may change it without
// harm to the log.
//
// # Order and delivery
//
// Both ways out keep the order of the log, and with it the order of every stream:
// a record is handed over when the one before it has been dealt with, never beside
// it. Both deliver at least once. A record can come again, after a crash, after a
// nack or after a lost checkpoint; then the ones that followed it can come again
// too, in their order. A receiver that minds compares the position, or the version
// within a stream, with the last one it dealt with, or remembers event IDs.
//
// A Relay has delivered a message when Publish returned nil. With a publisher that
// returns before its broker has the message, at least once holds only from there on;
// configure such a publisher to wait for the broker. What a broker makes of the
// order afterwards is the broker's: with Kafka, partition by stream.
//
// With watermill-nats on JetStream, make the consumer beforehand, with MaxAckPending 1 and
// a deliver group, and subscribe with nats.ManualAck. Without ManualAck the client acks what
// a Router that stops has not dealt with, which is lost then; with more than one message
// pending, later ones overtake one that comes again. Have Watermill's PoisonQueue leave out
// context.Canceled, or it takes what a stop has interrupted.
//
// A Subscriber has delivered a message when it was acked. A nacked message comes
// again after [SubscriberConfig.NackDelay], and nothing overtakes it: a message that
// always fails blocks its group at that topic, and no other group. To let the rest
// pass, put Watermill's PoisonQueue middleware around the handler.
//
// # Consumer groups
//
// A Subscriber reads for a group. Every group gets every message of the topics it
// subscribes to, at its own pace: a slow group delays nobody. A new group begins at
// the beginning of the log. A topic is one of
//
//   - a kind of stream, "organization": all its records
//   - a type of event, "token.generated.v1": these events in all streams
//   - [Everything]
//
// and a name that is both a kind and a type stands for both. A group has one
// position for each topic it subscribes to, kept by [events.Checkpoints] under
// "group/GROUP/TOPIC"; a Relay keeps its own under "relay/NAME". Subscribed to two
// topics that overlap, a group gets the common messages twice.
//
// A group has one reader for each topic. The same Subscriber refuses a second
// subscription to a topic while it has one, because two handlers behind one position
// would each miss what only the other had dealt with before a restart: give every
// handler a group of its own.
//
// Two processes with one group name are not kept apart. They do not share the work:
// each is delivered everything from the stored position on. The position is that
// of whichever is ahead, so after a restart the one that was behind goes on where the
// other was. What the group is promised still holds, every message was acked by at
// least one of them, but that is all. Run one process per group; where a second must
// stand by, hold a lock and subscribe when it is yours. The same holds for two Relays
// of one name, which publish everything twice.
//
// # What a crash repeats
//
// A checkpoint is saved after the effect it stands for and never before, so that a
// crash repeats and never loses:
//
//   - A Relay saves at the end of every batch it is given, and when a publish stops
//     it in the middle of one. After a crash it publishes again what it had published
//     of the batch it was in.
//   - A Subscriber saves when [SubscriberConfig.SaveEvery] messages were acked since
//     the last save, when [SubscriberConfig.SaveInterval] has passed since the first
//     progress that is not saved, when it has delivered the last record of the log,
//     and when it ends. After a crash at most SaveEvery messages come again, the one
//     in flight among them; after a clean Close, at most the one in flight.
//     Records that the topic does not select count as progress too, so that a quiet
//     group does not read the log from the start after every restart.
//
// A save that fails repeats more, and is tried again: a Relay returns the error, saves
// before it returns from the next Apply, and publishes nothing twice in between; a
// Subscriber logs it, goes on delivering, and saves with its next progress.
//
// # Errors of the log
//
// A Subscriber that cannot read the log logs the error and tries again, first after
// 100 ms, then after twice as long each time, up to 10 s. It never skips a record.
// Only [events.ErrClosed] ends a subscription from within: its channel is closed, and
// a Router whose subscriptions have all ended stops.
//
// # Running on a Router
//
// A Router may share one Subscriber between handlers of different topics. When the
// Router closes, it ends the context of its subscriptions and closes the Subscriber.
// The context of the message in flight ends with them at once; its handler has
// [SubscriberConfig.CloseTimeout] to ack or nack nonetheless. A message not acked by
// then is delivered again to the next subscriber of the group. The example of
// [Subscriber] is a whole program.
package relay
