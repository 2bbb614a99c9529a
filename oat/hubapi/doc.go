// Package hubapi is an HTTP API by which owners manage the access tokens of their
// organizations, from scripts and programs. It speaks the part of Docker Hub's API that
// is about organization access tokens, so that what was written for that works here.
//
//	api, err := hubapi.New(hubapi.Config{
//		Service: service, Log: log, Tokens: tokens, History: history, LastUsed: lastUsed, Runner: runner,
//		SignIn:  checkPassword,
//		Keys:    []hubapi.Key{hubapi.HMAC(secret)},
//		BaseURL: "https://hub.example.com",
//	})
//	api.Mount(mux)
//
// # Addresses
//
//	POST   /v2/auth/token                       sign in: {identifier, secret} for {access_token}
//	POST   /v2/users/login                      the same, older: {username, password} for {token}
//	GET    /v2/orgs/{org}/access-tokens         list, with page and page_size
//	POST   /v2/orgs/{org}/access-tokens         create: label, description, resources, expires_at
//	GET    /v2/orgs/{org}/access-tokens/{id}    get
//	PATCH  /v2/orgs/{org}/access-tokens/{id}    update: label, description, resources, is_active
//	DELETE /v2/orgs/{org}/access-tokens/{id}    delete
//	GET    /v2/auditlogs/{org}                  audit log, with action, name, actor, from, to, page, page_size
//	GET    /v2/openapi.json                     the OpenAPI 3.1 description, which says the rest
//
// [Handler.Mount] registers these addresses, and those of Docker Hub's API that this one does
// not offer, like /v2/orgs/{org}/members, which are answered 404. It leaves the rest of "/v2/"
// to a registry in the same process, and also passes on to it what has the form of a registry's
// address, like /v2/orgs/api/manifests/latest. HEAD is answered like GET, OPTIONS with the
// methods of an address. Every answer is JSON and none may be stored. (An http.ServeMux
// redirects addresses with doubled slashes by itself, before it asks any handler.)
//
// Every answer is also in the description ([Description]), and the tests hold the handler
// to that.
//
// # What the host supplies
//
// Config.SignIn checks the credentials of a person, in whatever way the host knows its
// people, and returns the name by which organizations know their owners. Config.Keys sign
// the JWTs that people get for that. A key comes with its algorithm (HS256, EdDSA, ES256)
// and is refused by [New] when it is empty or short.
//
// Config.Runner leads the read models, and the host runs it. A request waits until they
// show everything that the organization's stream in the log holds, so that a client sees
// what it did before, in whichever process, and nobody is shown anything on the ground of
// an ownership that has ended. If they do not come up to it within Config.MaxWait the
// answer is 503. Nothing is answered from an old state; last_used_at alone is as late as
// the record of uses is.
//
// # Signing in
//
// A JWT is good for [SessionTTL] and says who signed in, and nothing of what they may do:
// that is asked of the log with every request. It is sent as "Authorization: Bearer" or, as
// older clients do, "Authorization: JWT". It must be a compact JWS, signed by one of the keys
// with that key's algorithm, of the same issuer and for this API, and have an expiry that lies
// ahead. It must not have been issued in the future nor for longer than SessionTTL, with a
// minute's leeway: a session signed while a clock was ahead ends when the clock is corrected.
// Keys that a JWT carries or points to are not looked at.
//
// Access tokens do not manage access tokens. A secret in the form of one is refused when
// signing in, by its form and before anybody is asked, with words that say so: at
// /v2/users/login they are "Cannot log into an organization account", which clients know.
//
// # Who may do what
//
// Owners of an organization may do everything with its tokens. Everybody else is answered
// 403 with the same bytes whatever they ask, before the rest of the request is looked at:
// whether there is such an organization, or such a token, they do not learn. A token of
// another organization is "not found" even to someone who owns both.
//
// # Tokens
//
// expires_at, resources and the scopes in them come back string for string and in the
// order in which they were sent. Times that the API itself writes have six fractional
// digits and end in Z. is_active is false once a token was deactivated; whether it has
// expired is told by expires_at. An update is carried out as a whole or not at all, also
// one that changes fields and deactivates. An inactive or expired token can only be
// deleted.
//
// Lists are in the order in which tokens were created, so that those that are created
// meanwhile come at the end. A page has at most [MaxPageSize] results; a larger page_size means
// that many. The links to the next and previous page are absolute. They
// begin with Config.BaseURL or, without one, with the Host of the request. Forwarded and
// X-Forwarded headers are never looked at, since anybody can send them: behind a proxy
// set Config.BaseURL, and Config.ClientAddress for the limits.
//
// # Two editors
//
// Answers with one token carry an ETag. PATCH and DELETE with If-Match are carried out
// only if the token was not changed since, and are answered 412 otherwise. That
// somebody used the token changes the ETag too, for If-None-Match of a GET, and makes
// no edit stale.
//
// # Repeated requests
//
// A create with an Idempotency-Key (1 to 255 printable ASCII characters) makes at most one
// token, whenever and to whichever process it comes again, and whatever would be said to a
// new request by then. What remembers it is the log: the token's id is derived from the
// organization, the owner and the key. Therefore a key is good for one token for ever, also
// when that was deleted; an owner who lost a secret uses a new one. The answer to a request
// that came again is
//
//   - 200 with Idempotent-Replayed: true, the token as it is now, no secret, and a message
//     that says why,
//   - 409 when the token was deleted since,
//   - 422 when the request is another one, which names the fields that differ.
//
// # Audit log
//
// Entries are told the newest first, and there is one for everything that was decided
// about an organization, whoever decided it and by whichever way. The actions are
// org.access_token.create, .update and .delete; and, beyond Docker Hub's,
// org.create, org.plan.update, org.owner.add and org.owner.remove. data says what
// changed: a field's new text under its name, and what it was under "previous_" and its
// name. from and to are instants or days in UTC. A day is included in both; of instants, from is
// included and to is not.
//
// # Limits
//
// Requests are counted in fixed windows (Config.Rate): those of a signed-in user
// together, wherever they come from, and those of all other callers by address, IPv6
// addresses by their /64. Sign-ins that fail are also counted apart, by address and by person
// (Config.SignIns, which a host shares with its other doors); those that succeed are not.
// Every answer says how the caller stands, in X-RateLimit-Limit, X-RateLimit-Remaining and
// X-RateLimit-Reset (seconds since 1970), a sign-in how its address stands with failures; over
// the limit it is 429 with Retry-After. Counts are kept in this process, in bounded memory.
//
// Bodies have at most [MaxBody] bytes (413) and are application/json (415). How long a
// client may take to send one, and how many headers, is for the host's http.Server to say.
//
// # Errors
//
// A refusal is {detail, message}, which say the same. What is wrong with the fields of a
// request, all of it at once, is {fields: {name: [problems]}, text} with status 400 (422
// for a key that was used before). A field that is unknown, differs in letter case, or is
// given twice, is refused by name. So is what Docker Hub has and this library has not:
// resources of TYPE_ORG and scopes other than scope-image-pull and scope-image-push.
//
//	400  fields are wrong, the plan has no room, an inactive or expired token is changed
//	401  nobody is signed in, credentials do not open
//	403  not an owner
//	404  no such token, no such address ("… not found")
//	405  the address does not know the method (Allow)
//	409  the token must be deactivated first (oat.Config.RequireInactiveToDelete); see above
//	412  the token was changed meanwhile
//	500  the host's side failed; the cause is in its log and not in the answer
//	503  try again (Retry-After): the log is full, locked, read-only or cannot be reached, the
//	     read models are behind, or it is not known whether the request was carried out
//
// No secret is in any answer but that to the create that made it, and none in a log.
package hubapi
