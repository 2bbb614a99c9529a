// Package registryauth lets Docker clients and registries use organization access
// tokens: it is the token endpoint that registries send their clients to, the keys
// that sign what it hands out, and a guard that has a registry refuse a revoked token
// at once.
//
//	keys, err := registryauth.OpenKeys("keys.json", registryauth.KeysConfig{})
//	server, err := registryauth.New(registryauth.Config{
//		Verifier: verifier, Keys: keys,
//		Issuer: "auth.example.com", Services: []string{"registry.example.com"},
//		Realm: "https://auth.example.com/token",
//	})
//	mux.Handle("/token", server)
//	mux.Handle("/jwks.json", server.JWKS())
//	mux.Handle("/v2/", server.Guard(registry)) // where the registry is in this process
//
// # Protocol
//
// A registry answers a client without a bearer token with the address of this
// endpoint. The client asks it for a registry token, a signed JWT, and comes back with
// that. A client asks in one of two ways:
//
//   - GET with the parameters service and scope, and HTTP Basic with the
//     organization as user name and a token's secret as password. Without an
//     Authorization header the client is anonymous. The parameters account,
//     client_id and offline_token are ignored.
//   - POST with a form of grant_type=password, username, password, service and
//     scope. Every other grant type is answered 400, after which clients fall back
//     to GET. Parameters in the address are not looked at, and a form beside an
//     Authorization header is answered 400: whose credentials count must not be a
//     matter of taste.
//
// service must be one of Config.Services, and becomes the audience of the JWT. scope
// may be given several times, and each may hold several scopes with spaces between
// them, in any order and repeated. One scope is
//
//	type ":" name ":" action *("," action)
//
// and is split at its first and its last colon, because the name may begin with
// "host:port/". A class in parentheses after the type, as in "repository(plugin)", is
// ignored. A scope without a type or a name is malformed and is answered 400. A name, a type
// or an action that cannot be granted does not keep the others from being granted.
//
// The answer is JSON with token and access_token, which are the same JWT; expires_in,
// in seconds; issued_at; and, for a POST, scope as it was granted. There is never
// a refresh_token: docker login would keep it in place of the secret, and it would
// outlive the token it came from.
//
// The JWT's header has typ, alg and kid. Its claims are iss (Config.Issuer), sub
// (the organization, "" for anonymous), aud (the service), exp, nbf, iat, jti,
// access (a list of type, name and actions) and oat, the id of the organization
// access token, which is no secret and which [Server.Guard] asks for by. iat is the time of
// issue. nbf is ten seconds earlier, for registries whose clocks are behind. exp is never
// later than the expiry of the organization access token, even where that makes it earlier
// than expires_in says: clients take less than a minute for a minute.
//
// # What is granted
//
// What was asked for and is allowed ([oat.Grant.Allows]), for each repository; what is
// not allowed is left out. Less than was asked for, or nothing, is an answer with
// status 200 all the same: it is the registry that refuses. The action * asks for
// everything, of which pulling and pushing can be granted. Deleting, types other
// than repository, repositories named with a host, and the catalog are never granted.
//
// Anonymous clients can pull public repositories. Which repositories are public is
// what Config.Visibility says. It is asked only where the answer decides, and only
// about names that are spelled as registries spell them. Without it, and when it
// fails, no repository is public.
//
// # Keys and rotation
//
// [Keys] are kept in one file, which is made when it is not there. It holds a current
// key, which signs, and a next key, which does not sign yet. [Keys.Rotate] makes the
// next key current and makes a new next one. The key that was current stays as a
// previous one until every JWT it signed has expired, which is [MaxTokenTTL] and a
// leeway of 60 seconds later, and is then of no use.
//
// All of them are published as a JWKS, the next one included. A registry that reads
// the JWKS only when it starts therefore knows the key of the time after the next
// rotation already: it survives one rotation, and must be restarted, or given the
// file of [Keys.WriteJWKS] anew, before the second one.
//
// Several processes may share the file. The file is looked at whenever a key is
// needed, so a rotation by one of them is one by all. A file that can be read by
// others than its owner, or that holds anything but whole keys, is refused.
//
// Key material never comes from a JWT: of its header only kid is looked at, to find
// the key, and alg, which must be the key's own.
//
// # Guard
//
// A registry alone honours a JWT until it expires, up to Config.TokenTTL and its own
// leeway after the token behind it was revoked. [Server.Guard] stands before a
// registry in the same process, or before a proxy to one, and closes that gap. For
// every request with a bearer token it verifies the JWT with the keys here, asks the
// verifier again for the token behind it ([oat.Verifier.Recheck]), and demands that
// everything the JWT grants is granted still. Otherwise the request is answered 401
// with a challenge for what it needs, so that the client fetches a JWT that says what
// holds by now. A request that has begun is not interrupted.
//
// A request that the token itself does not allow, whatever the JWT was requested for, is
// answered 403 with the code DENIED and words for a person, such as "this token may pull
// acme/api, not push". The words depend on what the token allows, and not on which
// repositories exist. Where only the repository that a blob is to be mounted from is not
// allowed, the answer is 401 with such words, after which clients upload the blob.
//
// Nothing is deleted: a DELETE of a manifest, a blob or a tag is answered 405 with the code
// UNSUPPORTED, if the token may pull the repository. To cancel an upload is a part of pushing.
// CNCF distribution demands the action "delete" for that. Guard hands the request on with a JWT
// of its own that has it, which no client ever gets and which Guard itself refuses.
//
// A request without a bearer token, one of an anonymous client, and one whose JWT was not
// requested for what it needs, is handed on for the registry to challenge. The guard replaces
// nothing that the registry checks. A host that serves Docker Hub's management API below the same
// /v2/ tells the registry's addresses from others with [IsRegistryPath].
//
// # Browsers
//
// User interfaces for registries run in a browser and are refused by it, unless the registry and
// its token endpoint allow their origin (CORS). Config.Origins names the origins that are allowed.
// A registry behind Guard must then set no headers for this itself.
//
// # Realm
//
// Recent clients do not send credentials to every realm. go-containerregistry, and with it crane,
// refuses a realm whose host is a private, link-local or loopback IP address, unless the realm has
// the registry's own host and port, and a realm with http for a registry with https. On such an
// address the token endpoint must be served on the registry's port.
//
// # Limits
//
// Before any credentials are looked at, a request must have at most [MaxHeader] bytes
// of headers (431), [MaxQuery] bytes of parameters (414 in the address, 413 in a
// form), [MaxScopes] scopes of at most [MaxScope] bytes each, no parameter twice
// except scope, and a service that is known (all 400). Forms are
// application/x-www-form-urlencoded (415) and methods are GET and POST (405).
// How long a client may take to send all this is for the host's http.Server to say
// (ReadHeaderTimeout, ReadTimeout), and so is how many requests it may send.
//
// # What a refusal says
//
// Credentials that do not open are answered 401 with the same bytes whatever the
// cause:
//
//	{"details":"incorrect username or password","errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}
//
// Some clients print details and some print errors. The cause is in the verifier's
// log and, for a known secret, in the record of its uses. A service that tokens are
// not for is answered 401 with words that say so, whether or not the credentials are
// good. The refusal of a form also has error, with a code of RFC 6749 such as invalid_client or
// unsupported_grant_type. While the verifier is not up to date ([oat.ErrStale]), credentials that could
// be a token's are answered 503 with Retry-After. Nothing the endpoint answers may be
// stored by caches.
package registryauth
