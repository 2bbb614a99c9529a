// Package oat is the domain of organization access tokens: credentials that belong
// to an organization and not to a person.
//
// # Tokens
//
// A token has a label, an optional description, an optional instant at which it
// expires, and access to repositories. Every owner of the organization may manage
// every one of its tokens; an owner who leaves changes nothing for them. How many
// tokens there may be is the organization's plan's to say (package quota). Every
// token that was not deleted counts, inactive and expired ones too.
//
//   - An active token can be edited, deactivated and deleted.
//   - An inactive token can only be deleted, and so can an expired one.
//   - A deleted token is gone: every later command on it is [ErrTokenNotFound].
//
// Access is one of three: read access to public repositories ([Public]), read or
// read-write access to all repositories of the organization ([All]), or to up to 50
// of them by name ([Repository]). Writing never includes deleting. What is not
// granted is denied, and a repository whose visibility is not known is private.
//
// # Commands
//
// A [Service] carries out commands. Each is a struct and one method, takes the
// [Actor] who gives it, and returns when what it did is durable in the log, or why it
// was refused. A refused command leaves no trace in the log.
//
//	service, err := oat.New(oat.Config{Log: log})
//	…
//	alice := oat.Actor{User: "alice"}
//	token, secret, err := service.Generate(ctx, alice, oat.Generate{
//		Organization: "acme",
//		Label:        "ci",
//		Expires:      oat.ExpiresAt(time.Now().AddDate(0, 3, 0)),
//		Resources:    []oat.Resource{oat.Repository("acme/api", oat.ReadWrite)},
//	})
//
// One organization is one stream of the log ("organization/acme"). A command is
// decided against the organization's state at some version, and appended under that
// version. If somebody else was quicker, also in another process, it is decided anew.
// Therefore no interleaving of commands exceeds a limit or edits an inactive token.
//
// A service keeps the organizations it worked on last in memory, and reads the stream of
// any other from the log. Decisions are few, so that this takes milliseconds.
//
// # A log that is not what it was
//
// Everything here that folds an organization's records checks their hash chain while it
// folds. If a record does not continue what is known (the log lost its newest records in a
// failover, or somebody changed it behind the library's back), the verifier closes the
// organization at once: nothing of it opens until its stream was folded again from the log,
// which a projection.Runner sees to, and a stream whose chain is broken stays closed, while
// the other organizations are served. [VerifierStatus] lists what is closed and why, and the
// service refuses commands on it with [events.ErrDamaged]. A revocation that was
// acknowledged is therefore never skipped, as long as the log holds it.
//
// The time of an event is the clock of the process that wrote it, and no more than
// that. Order is by version. A clock that is wrong stamps wrong times, and judges
// expiry wrongly, until it is put right; it cannot damage anything.
//
// # Text that people type
//
// One rule holds for names of users and organizations, labels, descriptions and reasons,
// by whichever command they come. They are cleaned ([CleanText]) before they are compared,
// recorded or looked up, and refused by the name of their field where they are not valid
// Unicode, have nothing in them that can be seen, or contain
//
//   - control characters, except for line breaks and tabs in descriptions;
//   - invisible characters: format characters (category Cf), with them the marks, overrides
//     and isolates of bidirectional text and the tags; code points that Unicode says to
//     ignore where they are not supported (Default_Ignorable_Code_Point), with them fillers
//     and variation selectors; line and paragraph separators; and the few characters that
//     are blank, like U+2800;
//   - private and unassigned code points and noncharacters, and U+FFFD, which stands for
//     text that was lost on its way;
//   - anything in the form of a secret ([ContainsSecret]).
//
// Some invisible characters are needed in writing. Labels, descriptions and reasons may
// have U+200C and U+200D between letters of scripts that join and after a virama, as
// Persian, Bengali and Malayalam are written, and U+200D, U+FE0E and U+FE0F within emoji. Names of
// users have neither, and no other space than U+0020: names must not differ in what cannot
// be seen. The root of the DNS has the same rule (ICANN, Maximal Starting Repertoire).
//
// The rule is for commands. Records that are in the log already are read as they are.
//
// # Secrets
//
// A secret is shown once, by [Service.Generate]. Only its SHA-256 is in the log, so
// that a copy of the whole database opens nothing. A [Secret] prints as "[redacted]"
// and opens only by [Secret.Reveal], which specifies the format.
//
// A client may send a secret in the wrong field. What people type is refused then, by the
// name of the field. In what is recorded or logged of a request, such as the user agent,
// the secret is masked ([MaskSecrets]).
//
// # Verification
//
// A [Verifier] is the only door. It keeps, in memory, one entry for each token there
// is, folded from the log, and there is no cache before it that could be stale. A
// secret is checked for its form, digested, and looked up; then the user name must be
// the organization that owns the token, the token active and not expired, the plan
// one that has tokens. Every refusal is the same [ErrRefused]; the cause goes to the
// log and, where the secret is a known one, to the record of uses.
//
// In the process that ran a command, the command holds for the verifier before it
// returns. In other processes it holds when the verifier was fed the event, which is
// what a projection.Runner does within milliseconds ([VerifierStatus.FollowDelay]
// measures it). A verifier that has not seen the end of the log for MaxStaleness, ten
// seconds unless configured, refuses everyone with [ErrStale].
//
// A verified token gives a [Grant], whose [Grant.Allows] decides about one action on
// one repository.
//
// # Use
//
// A [Recorder] notes who used which token, also in vain, and records it in a stream of
// its own ("usage/acme") that never stands in the way of commands.
//
// # Wiring
//
// A process that runs commands and verifies:
//
//	recorder, err := oat.NewRecorder(oat.RecorderConfig{Log: log})
//	verifier := oat.NewVerifier(oat.VerifierConfig{Recorder: recorder})
//	service, err := oat.New(oat.Config{Log: log, Verifier: verifier})
//	runner, err := projection.NewRunner(projection.RunnerConfig{
//		Log: log, Projections: []projection.Projection{verifier},
//	})
//	err = runner.CatchUp(ctx) // until then the verifier refuses everyone
//	go func() { stopped <- runner.Run(ctx) }()
//	…
//	err = recorder.Close(ctx)
//
// Run ends with an error when the verifier meets an event it cannot read. From then on,
// after MaxStaleness, it refuses everyone: a host must hear of that error. The clocks of
// verifier, service and runner must be one, whichever it is, because the runner's tells
// the verifier how fresh it is.
//
// # What tokens are not for
//
// Tokens never manage tokens, and they are not for Docker Desktop, Docker Build Cloud,
// Docker Scout and the Docker REST APIs: an attempt that names one of these services
// is refused with [ErrUnsupportedService].
package oat
