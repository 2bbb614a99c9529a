// Registry is a container registry whose users are organizations: a real one, for
// docker, crane and every other client, with organization access tokens as its
// passwords. It keeps everything in one folder and needs nothing but itself.
//
//	go run ./examples/registry
//
// starts it on 127.0.0.1:5000. The first start registers an organization, acme, and
// prints a token's secret and the commands to log in, push, and revoke the token
// again. While it serves, the same program manages it from another terminal:
//
//	go run ./examples/registry token generate acme --as alice --label ci --repo api=read
//	go run ./examples/registry token list acme
//	go run ./examples/registry token deactivate acme ID --as alice
//	go run ./examples/registry history acme
//
// Every command opens the log in the data folder by itself, decides, appends, and
// ends. The server follows the log and refuses a revoked token within milliseconds,
// also to clients that are logged in. See --help for all commands.
//
// # Exit codes
//
// 0 says that it is done. 1 says that it was refused by a rule or could not be done,
// and 2 that the command line makes no sense. In both cases one line on standard error
// says why. (go run ends with 1 whatever the program ended with, and passes no SIGTERM
// on to it; scripts use what go build -o registry ./examples/registry makes.)
//
// # What is where
//
// serve.go puts the parts of the library together and is the file to read first;
// first.go is what happens on an empty data folder, and pulls.go limits how often an
// organization pulls. org.go, token.go, history.go, verify.go and rebuild.go are the
// commands; what they show comes from the read models in models.go, and what they print
// is in words.go and table.go. What it has in common with the console example, like the
// configuration of the CNCF distribution registry, is in examples/internal.
package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/oatmill/oatmill/examples/internal/cli"
)

func main() { cli.Main(run) }

// program is one run of the command line.
type program struct {
	stdout, stderr io.Writer
	now            func() time.Time

	data string // the folder everything is kept in
	addr string // where the server listens
}

// run is the program without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	p := &program{stdout: stdout, stderr: stderr, now: time.Now}
	return cli.Run(ctx, p.commands(), args, stdout, stderr)
}

// say tells a person something beside the result, which alone goes to standard
// output.
func (p *program) say(format string, args ...any) { fmt.Fprintf(p.stderr, format+"\n", args...) }
