// Console is a container registry together with the desk of its owners: the Admin
// Console in a browser, the Docker-Hub-compatible API for scripts, and the registry that
// docker, crane and every other client use, on one log in one folder.
//
//	go run ./examples/console
//
// serves all of it on 127.0.0.1:8080. The first start registers an organization, acme on
// plan team, with the owner alice, and prints a link that signs her in once, her
// password, and the docker login to try a token with. What is done in the console holds
// for docker at once; what docker does shows in the console within a second.
//
//	go run ./examples/console user add bob --owns acme
//	go run ./examples/console user reset alice
//
// make accounts for more people, also while it serves. What organizations there are, and
// who owns them, is managed by the registry example on the same folder:
//
//	go run ./examples/registry org register globex --plan business --owner bob
//
// # Safe by default
//
// It listens on the loopback address, and serves plain HTTP nowhere else unless it is told
// to (--insecure-http). With --tls-cert and --tls-key, or a certificate of its own making
// (--tls-dev), it speaks HTTPS and HTTP/2, and the session cookie is Secure and bound to
// this host. Behind a proxy that does TLS, --url tells it so.
//
// # One port
//
// The registry and Docker Hub's API both live under /v2/. They share it without a
// conflict, because the API's addresses are routed one by one and none of them can be
// one of the registry's, which all end in manifests, blobs, tags or referrers and one
// more segment: /v2/orgs/acme/access-tokens is the API's, and an organization called
// "orgs" can have a repository called "acme/access-tokens" all the same. The console has
// everything else.
//
// # What is where
//
// serve.go puts the parts of the library together and is the file to read first;
// routes.go says which address is whose. first.go is what happens on an empty data
// folder. signin.go is the page on which people sign in, certificate.go what TLS needs,
// and commands.go the command line. People, passwords and sessions, which a host of the
// library has of its own, are in examples/internal/accounts.
package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/examples/internal/site"
)

func main() { cli.Main(run) }

// program is one run of the command line.
type program struct {
	stdout, stderr io.Writer
	now            func() time.Time

	data string // the folder everything is kept in
}

// run is the program without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	p := &program{stdout: stdout, stderr: stderr, now: time.Now}
	return cli.Run(ctx, p.commands(), args, stdout, stderr)
}

// say tells a person something beside the result, which alone goes to standard
// output.
func (p *program) say(format string, args ...any) { fmt.Fprintf(p.stderr, format+"\n", args...) }

func (p *program) folder() site.Folder { return site.Folder(p.data) }

// invocation is how to run this program again on the same data.
func (p *program) invocation(args ...string) string {
	if p.data != site.DefaultData {
		args = append([]string{"--data", p.data}, args...)
	}
	return cli.Invocation("./examples/console", args...)
}
