// Package console is the Admin Console: the pages on which owners of an organization
// manage its access tokens in a browser.
//
//	pages, err := console.New(console.Config{
//		Service: service, Log: log, Runner: runner,
//		Tokens: tokens, Counts: counts, LastUsed: lastUsed, History: history, Daily: daily,
//		User:   func(r *http.Request) (string, bool) { return sessions.User(r) },
//		SignIn: func(back string) string { return "/sign-in?back=" + url.QueryEscape(back) },
//		Prefix: "/console",
//	})
//	…
//	mux.Handle("/console/", pages)
//
// The pages are made on the server, with everything they need embedded in the program.
// They work wholly without JavaScript. A small script copies to the clipboard, adds rows
// to a form without asking the server, closes menus, and keeps a double click from
// sending a form twice.
//
// # Routes
//
// All below [Config.Prefix]. ORG is an organization, ID the id of a token.
//
//	GET       /                                   the person's organizations; to the only one directly
//	GET       /orgs/ORG                           to the list
//	GET       /orgs/ORG/tokens                    the list: q, status, sort, page
//	GET POST  /orgs/ORG/tokens/new                generate; the answer to the post shows the secret
//	GET       /orgs/ORG/tokens/ID                 one token, deleted ones too
//	GET POST  /orgs/ORG/tokens/ID/edit
//	GET POST  /orgs/ORG/tokens/ID/deactivate      asks, and does it
//	GET POST  /orgs/ORG/tokens/ID/delete          asks, and does it
//	GET       /orgs/ORG/activity                  action, actor, token, since, until, page
//	GET       /orgs/ORG/activity.csv              the same filter; oldest first, a line for each change
//	GET       /orgs/ORG/organization              plan and owners
//	GET       /orgs/ORG/repositories              suggestions as JSON: q
//	GET       /assets/NAME                        style sheet, script and icon; open to everyone
//
// status is one of active, expiring, inactive and expired. sort is one of label, status,
// created, used and expires, with a "-" before it the other way around. What a query says
// beside that is passed over, and a page that is none is the nearest one there is. A
// search is cut off after 200 bytes.
//
// # Who may do what
//
// The host says who is signed in ([Config.User]); the service says who owns an
// organization, on every request and as of what the log holds at that moment. Whoever
// does not own it gets the same page, with status 404, as for an organization that does
// not exist. The console sets no cookie. The session is the host's, whose cookie must be
// HttpOnly, Secure and SameSite.
//
// A post must come from the console's own origin ([http.CrossOriginProtection]), and so
// there are no tokens against forgery in the forms. A proxy that changes the host's name
// needs [Config.TrustedOrigins].
//
// Every answer forbids being framed and has a content security policy that allows
// nothing but the console's own style sheet, script, images and forms: no inline code and
// no inline styles. Apart from assets, no answer may be stored.
//
// # The secret
//
// The answer to the post that generates a token holds its secret, and nothing else ever
// does: no address, no store on the server, no log, and, because the answer must not be
// stored, no cache and no history of the browser. The form carries a random name, and
// the service makes at most one token for a name ([oat.Generate].Once). When the post is
// repeated, by reloading or going back, in whichever process and also after a restart,
// the answer is the form with what was typed, and says that the secret is not shown
// again. The script also takes the secret out of the page when the person leaves it.
//
// The alternative was to lead the browser on to an address where the secret can be picked
// up once. Between the two requests the secret would have to lie somewhere that every
// process can read, bound to a session that only the host knows.
//
// # What goes wrong, and what the person is told
//
//   - A field is not as it must be: status 422, the form with what was typed, each problem
//     at its field and in a summary that links to the fields.
//   - The token was changed while its form was open: 409, with who changed what. What was
//     typed stays; what was not touched shows as it is now. To send it again saves it.
//   - The token was deactivated or deleted, or has expired, while its form was open: 409,
//     with what was typed, to copy it.
//   - Deactivating or deleting what is inactive or deleted already: the page it leads to
//     says so.
//   - The session ended before a form was sent: 401, with the form's content kept on the
//     page, to be sent again after signing in in another tab; 400 for what no form of the
//     console sends. A page that is only looked at leads to [Config.SignIn].
//   - The limit was reached meanwhile: 409, with what was typed.
//   - Others keep changing the organization, or the log cannot be reached: 503, with what
//     was typed. What may have been done is not done twice when the form is sent again.
//   - A function of the host panics: 500, and the stack in [Config.Logger]. What was
//     panicked with is not logged. An answer that has begun is cut off.
//   - An address, id or method that is none: 404 and 405. A body over 128 KiB: 413; one
//     that is no form: 415; a damaged one: 400.
//
// # Files
//
// The activity as CSV is for spreadsheets, too: a cell that one would take for a formula
// begins with an apostrophe.
package console
