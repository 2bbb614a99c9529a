// Package projection folds the log into what people and programs ask about:
// which tokens there are ([Tokens]), how many ([Counts]), when each was last used
// ([LastUsed]), how often on each day ([Daily]) and who did what ([History]). [Runner]
// leads them along the log.
//
// # Projections
//
// A [Projection] is anything that follows the log and owns its position in it. The
// five read models here keep everything in memory and begin at position 0: a
// process reads the log once when it starts and follows it from then on, and there
// is nothing to store, to migrate or to repair. How many records a second that
// makes is what the benchmark Rebuild measures. Rebuilding is the same thing again:
//
//	tokens, counts := projection.NewTokens(), projection.NewCounts(plans)
//	runner, err := projection.NewRunner(projection.RunnerConfig{
//		Log:         log,
//		Projections: []projection.Projection{tokens, counts},
//		Progress:    func(p projection.Progress) { bar(p.Position, p.End) },
//	})
//	…
//	err = runner.CatchUp(ctx) // then: go runner.Run(ctx)
//
// A projection that stores what it folds, in a database say, stores its position
// in the same transaction; package projtest tells whether it does so rightly.
//
// # What the read models promise
//
//   - They depend on the records alone: however the log is cut into batches,
//     whatever is delivered twice, and wherever a process stopped and went on, the
//     same records give the same answers.
//   - A record is applied as a whole or not at all, and the position says up to
//     where. After an error the position stands before the record that caused it.
//   - They look at streams of the kinds "organization" and "usage". A record of
//     another kind moves the position and is not decoded.
//   - An event they do not know, in one of those two kinds, stops them with
//     [events.ErrUnknownType]. It was written by a newer library, and what it says
//     may be that a token is no more.
//   - A record they could make no sense of stops them with [events.ErrDamaged]: a
//     hole in the versions of an organization's stream, a change of a token that does
//     not exist, a token id that is no UUID, an expiry that is no instant. The
//     domain never writes one. Each read model notices what it has to look at.
//   - They are safe for concurrent use. A query sees the state between two
//     batches, never the middle of one.
//
// # Time
//
// Order is by version within a stream and by position within the log, never by
// clock. Clocks decide two things only: whether a token had expired at an instant
// the caller names, and how far back "as of" reaches; [History] says how it
// treats a clock that jumped back. No read model asks for the time by itself.
//
// # Actors
//
// Actors are passed through as they were recorded: "alice" is a person, and
// "host:NAME" is the program that embeds the library.
package projection
