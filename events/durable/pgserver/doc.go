// Package pgserver runs a private, throwaway PostgreSQL for tests and examples.
//
// [Start] makes a cluster in a folder of its own and runs it on a free port of the
// loopback interface. The one user, postgres, has a random password, so that other users
// of the machine stay outside. Nothing of an installed server is used or touched, apart
// from its programs. They are looked for in PATH and where distributions put them; a
// machine without them gets [ErrNotFound], whose text says what to install. PostgreSQL
// refuses to run as root. Where the caller is root, the programs run as the user postgres,
// or nobody.
//
// # What may be relied on
//
// The server is as durable as PostgreSQL is by default: fsync and synchronous_commit are
// on. Only the making of the cluster is not synced. [Server.Kill] ends every process of the
// server with SIGKILL at once, and [Server.Restart] starts it again with the same data on
// the same port, which is how the crash of a database is tested.
//
// The server does not outlive its parent. [Server.Close] ends it and deletes its folder.
// Should the parent die without that, Linux sends the server a signal that shuts it down;
// on other systems it stays.
//
// # Servers that exist already
//
// [Find] uses the server at the address in the environment variable [Env] where that is set.
// Such a server is not ours to stop or kill: those methods return [ErrForeign].
package pgserver
