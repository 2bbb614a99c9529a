package durable_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	osexec "os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// memberEnv says what a process that a test has started is to be. It holds a
// memberConfig.
const memberEnv = "OATMILL_VERIFIERS_MEMBER"

// memberConfig is what one of several processes on one log is to be.
type memberConfig struct {
	Store, Address string
	Writes         bool // it carries out commands; otherwise it only verifies
	Waits          bool // it verifies nothing, and tells when the log wakes it
	MaxStaleness   time.Duration
	PollInterval   time.Duration // of its runner
}

// order is what a process is told to do, one line of JSON on its standard input.
type order struct {
	Do           string
	Organization string          `json:",omitempty"`
	Token        uuid.UUID       // revoke, watch
	Secret       string          `json:",omitempty"` // watch
	After        events.Position `json:",omitempty"` // revoke: where the log ended before the token was generated
	Delete       bool            `json:",omitempty"` // revoke, instead of deactivating
	Sweeps       int             `json:",omitempty"` // sweep, until stale, until fresh
	Writers      int             `json:",omitempty"` // load
}

// news is what a process tells, one line of JSON on its standard output. Times are
// nanoseconds since 1970: all processes are on one machine and have one clock.
type news struct {
	About        string
	Token        uuid.UUID
	Organization string          `json:",omitempty"`
	Secret       string          `json:",omitempty"`
	At           int64           `json:",omitempty"`
	Position     events.Position `json:",omitempty"`
	Report       *report         `json:",omitempty"`
}

// report is what a process saw so far.
type report struct {
	Since    int64 // when it began to be as it is, fresh or stale
	Commands int   // of the load
	Tokens   []watched
}

// process is one of the processes, as the test sees it.
type process struct {
	tb     testing.TB
	name   string
	cmd    *osexec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	heard  map[string][]news // what nobody has waited for yet
	other  strings.Builder   // what is no news
	errors strings.Builder
	wires  []*wire
}

// patience is how long a process may take for what takes milliseconds on an idle machine.
const patience = time.Minute

// startProcess starts this program again.
func startProcess(tb testing.TB, name string, cfg memberConfig) *process {
	tb.Helper()
	given, err := json.Marshal(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	p := &process{tb: tb, name: name, cmd: osexec.Command(os.Args[0], "-test.run=^TestVerifierProcess$"), heard: make(map[string][]news)}
	p.cmd.Env = append(os.Environ(), memberEnv+"="+string(given))
	p.cmd.SysProcAttr = bound()
	p.cmd.Stderr = &p.errors
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		p.in, err = p.cmd.StdinPipe()
	}
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.stop)
	p.out = bufio.NewScanner(out)
	p.out.Buffer(nil, 4<<20)
	return p
}

func (p *process) tell(o order) {
	p.tb.Helper()
	line, err := json.Marshal(o)
	if err == nil {
		_, err = p.in.Write(append(line, '\n'))
	}
	if err != nil {
		p.fail(err)
	}
}

// hurry ends the process when it takes too long, and has it say what it was at. The caller calls
// what it returns when the process was in time.
func (p *process) hurry() (inTime func() bool) {
	return time.AfterFunc(patience, func() {
		if p.cmd.Process.Signal(syscall.SIGQUIT) != nil { // which prints all goroutines, where there are signals
			p.cmd.Process.Kill()
		}
	}).Stop
}

func topic(about string, token uuid.UUID) string { return about + " " + token.String() }

// await is the next news about a token, or about nothing in particular.
func (p *process) await(about string, token uuid.UUID) news {
	p.tb.Helper()
	defer p.hurry()()
	for want := topic(about, token); ; {
		if heard := p.heard[want]; len(heard) > 0 {
			p.heard[want] = heard[1:]
			return heard[0]
		}
		p.listen(want)
	}
}

// listen takes in one line. What it is waited for is for the message if there is none.
func (p *process) listen(want string) {
	p.tb.Helper()
	if !p.out.Scan() {
		p.fail("ended, or was ended after a minute, before it said " + want)
	}
	p.hear(p.out.Bytes())
}

func (p *process) hear(line []byte) {
	var n news
	if err := json.Unmarshal(line, &n); err != nil || n.About == "" {
		p.other.Write(line)
		p.other.WriteByte('\n')
		return
	}
	at := topic(n.About, n.Token)
	p.heard[at] = append(p.heard[at], n)
}

func (p *process) fail(what any) {
	p.tb.Helper()
	p.cmd.Process.Kill()
	p.cmd.Wait()
	p.tb.Fatalf("%s process: %v\n%s%s", p.name, what, &p.other, &p.errors)
}

// stop ends the process by closing its input, and hears what it says to the end. It must
// end well.
func (p *process) stop() {
	if p.cmd.ProcessState != nil {
		return
	}
	defer p.hurry()()
	p.in.Close()
	for p.out.Scan() {
		p.hear(p.out.Bytes())
	}
	if err := p.cmd.Wait(); err != nil {
		p.tb.Errorf("%s process: %v\n%s%s", p.name, err, &p.other, &p.errors)
	}
}

// cut takes the log away from the process, in one of the ways there are.
func (p *process) cut(how gate) {
	if len(p.wires) == 0 {
		p.tell(order{Do: "unplug"})
		p.await("unplugged", uuid.Nil)
	}
	for _, w := range p.wires {
		w.set(how)
	}
}

// heal undoes cut.
func (p *process) heal() {
	if len(p.wires) == 0 {
		p.tell(order{Do: "replug"})
		p.await("replugged", uuid.Nil)
	}
	for _, w := range p.wires {
		w.set(through)
	}
}

// report is the report of the process after so many further sweeps: of any kind for
// "sweep", or on end such in which it refused everyone, "until stale", or did not, "until
// fresh".
func (p *process) report(do string, sweeps int) *report {
	p.tb.Helper()
	p.tell(order{Do: do, Sweeps: sweeps})
	return p.await("report", uuid.Nil).Report
}

// next is the next news of a kind, whichever token it is about.
func (p *process) next(about string) news {
	p.tb.Helper()
	defer p.hurry()()
	for {
		for topic, heard := range p.heard {
			if strings.HasPrefix(topic, about+" ") && len(heard) > 0 {
				p.heard[topic] = heard[1:]
				return heard[0]
			}
		}
		p.listen(about)
	}
}
