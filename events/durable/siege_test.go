package durable_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/durable/internal/testkit"
	"github.com/oatmill/oatmill/events/durable/natscluster"
	"github.com/oatmill/oatmill/events/durable/natslog"
	"github.com/oatmill/oatmill/events/durable/pglog"
	"github.com/oatmill/oatmill/events/durable/pgserver"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/oat/oattest/invariants"
)

// besieged says to a process of this program which player it is.
type besieged struct {
	Store, Address string
	Name           string
	Seed           uint64
	Journal        string
}

const siegeEnv = "OATMILL_SIEGE_PLAYER"

// settled is what a player says that has stopped to give commands.
const settled = "settled\n"

func (b besieged) open(ctx context.Context) (closingLog, error) {
	switch b.Store {
	case "SQLite":
		return sqlitelog.Open(ctx, b.Address, sqlitelog.Config{})
	case "PostgreSQL":
		return pglog.Open(ctx, b.Address, pglog.Config{Schema: "siege"})
	case "JetStream":
		return natslog.Open(ctx, b.Address, natslog.Config{})
	}
	return nil, fmt.Errorf("no store %q", b.Store)
}

type closingLog interface {
	events.Log
	io.Closer
}

// TestSiegePlayer is a player, in a process that siege starts. It rages until it reads a
// line, says so, and concludes at the next.
func TestSiegePlayer(t *testing.T) {
	given := os.Getenv(siegeEnv)
	if given == "" {
		return
	}
	var b besieged
	if err := json.Unmarshal([]byte(given), &b); err != nil {
		t.Fatal(err)
	}
	journal, err := os.OpenFile(b.Journal, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	log, err := b.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	in := bufio.NewReader(os.Stdin)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		_, _ = in.ReadString('\n')
		stop()
	}()
	err = invariants.Player{
		Log: log, Name: b.Name, Seed: b.Seed, Journal: journal, Pace: 5 * time.Millisecond,
		Settle: func() {
			fmt.Print(settled)
			_, _ = in.ReadString('\n')
		},
	}.Play(ctx)
	if err != nil {
		t.Fatal(err)
	}
}

// siege is players in processes of their own, on one log.
type siege struct {
	t       *testing.T
	store   string
	address string
	dir     string
	players []*siegePlayer
	all     []string // journals, also of players that were killed
}

type siegePlayer struct {
	cmd     *osexec.Cmd
	in      io.WriteCloser
	said    chatter
	journal string
	ended   chan struct{} // closed when the process has ended, with err
	err     error
}

// chatter is what a player says, on both of its outputs.
type chatter struct {
	settled chan struct{} // closed when the player says that it has

	mu   sync.Mutex
	text bytes.Buffer
}

func (c *chatter) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := bytes.Contains(c.text.Bytes(), []byte(settled))
	n, err := c.text.Write(p)
	if !before && bytes.Contains(c.text.Bytes(), []byte(settled)) {
		close(c.settled)
	}
	return n, err
}

func (c *chatter) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

func newSiege(t *testing.T, store, address string) *siege {
	s := &siege{t: t, store: store, address: address, dir: t.TempDir()}
	for range 3 {
		s.add()
	}
	return s
}

func (s *siege) add() {
	s.t.Helper()
	n := len(s.all)
	p := &siegePlayer{
		journal: filepath.Join(s.dir, fmt.Sprintf("player%d.jsonl", n)),
		said:    chatter{settled: make(chan struct{})},
		ended:   make(chan struct{}),
	}
	given, err := json.Marshal(besieged{Store: s.store, Address: s.address, Name: fmt.Sprint("player", n), Seed: uint64(n), Journal: p.journal})
	if err != nil {
		s.t.Fatal(err)
	}
	p.cmd = osexec.Command(os.Args[0], "-test.run=^TestSiegePlayer$", "-test.timeout=5m")
	p.cmd.Env = append(os.Environ(), siegeEnv+"="+string(given))
	p.cmd.SysProcAttr = bound()
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	if p.in, err = p.cmd.StdinPipe(); err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	s.t.Cleanup(p.kill)
	s.players, s.all = append(s.players, p), append(s.all, p.journal)
}

// kill ends the first player at once, in the middle of whatever it does, and another one
// takes its place.
func (s *siege) kill() {
	s.t.Helper()
	s.players[0].kill()
	s.players = s.players[1:]
	s.add()
}

// kill ends the process, unless it has ended.
func (p *siegePlayer) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// progress waits until every player has been told the outcome of so many more commands
// that were done.
func (s *siege) progress(n int) {
	s.t.Helper()
	deadline := time.After(3 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, p := range s.players {
		for goal := p.done() + n; p.done() < goal; {
			select {
			case <-tick.C:
			case <-p.ended:
				s.t.Fatalf("a player ended early: %v\n%s", p.err, &p.said)
			case <-deadline:
				s.t.Fatalf("no more commands are done in %s\n%s\n%s", p.journal, p.tail(), &p.said)
			}
		}
	}
}

func (p *siegePlayer) done() int {
	content, err := os.ReadFile(p.journal)
	if err != nil {
		return 0
	}
	return bytes.Count(content, []byte(`"outcome":"done"`))
}

// tail is the end of the journal.
func (p *siegePlayer) tail() string {
	content, err := os.ReadFile(p.journal)
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-2000):])
}

// judge ends the siege: all players stop, and then conclude.
func (s *siege) judge(log events.Log) {
	s.t.Helper()
	for _, p := range s.players {
		s.say(p, "stop\n")
	}
	for _, p := range s.players {
		select {
		case <-p.said.settled:
		case <-p.ended:
			s.t.Fatalf("a player ended early: %v\n%s", p.err, &p.said)
		}
	}
	for _, p := range s.players {
		s.say(p, "conclude\n")
	}
	for _, p := range s.players {
		if <-p.ended; p.err != nil {
			s.t.Errorf("a player: %v\n%s", p.err, &p.said)
		}
	}
	var journals []io.Reader
	for _, name := range s.all {
		content, err := os.ReadFile(name)
		if err != nil {
			s.t.Fatal(err)
		}
		journals = append(journals, bytes.NewReader(content))
	}
	report := invariants.Judge(s.t, log, journals...)
	s.t.Log(report)
	if report.Outcomes["done"] < 100 || report.Records < 100 {
		s.t.Errorf("too little happened: %s", report)
	}
}

func (s *siege) say(p *siegePlayer, line string) {
	s.t.Helper()
	if _, err := io.WriteString(p.in, line); err != nil {
		s.t.Errorf("a player ended early: %v\n%s", err, &p.said)
	}
}

// own opens the log in this process.
func (s *siege) own() events.Log {
	s.t.Helper()
	log, err := besieged{Store: s.store, Address: s.address}.open(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = log.Close() })
	return log
}

// rounds is how often each fault comes: OATMILL_SIEGE times, or this often.
func rounds(t *testing.T, usual int) int {
	t.Helper()
	given := os.Getenv("OATMILL_SIEGE")
	if given == "" {
		return usual
	}
	n, err := strconv.Atoi(given)
	if err != nil {
		t.Fatalf("OATMILL_SIEGE: %v", err)
	}
	return n
}

// TestSiegeSQLite kills processes that write to one file, in the middle of their work.
func TestSiegeSQLite(t *testing.T) {
	t.Parallel()
	s := newSiege(t, "SQLite", filepath.Join(t.TempDir(), "events.db"))
	for range rounds(t, 4) {
		s.progress(20)
		s.kill()
	}
	s.progress(20)
	s.judge(s.own())
}

// TestSiegePostgres kills the server in the middle of the load and starts it again, and
// players between.
func TestSiegePostgres(t *testing.T) {
	t.Parallel()
	server, err := pgserver.Start(t.Context(), pgserver.Config{})
	if errors.Is(err, pgserver.ErrNotFound) {
		testkit.Missing(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	s := newSiege(t, "PostgreSQL", server.URL())
	for range rounds(t, 2) {
		s.progress(20)
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.progress(20)
		s.kill()
	}
	s.progress(20)
	s.judge(s.own())
}

// TestSiegeJetStream kills the leader of three nodes, restarts it, cuts a node off and lets
// it return, and kills players between.
func TestSiegeJetStream(t *testing.T) {
	t.Parallel()
	cluster, err := natscluster.Start(t.Context(), natscluster.Config{Dir: t.TempDir(), Nodes: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	s := newSiege(t, "JetStream", cluster.URL())
	s.progress(20)
	for range rounds(t, 1) {
		leader, err := cluster.WaitLeader(t.Context(), "oatmill")
		if err != nil {
			t.Fatal(err)
		}
		cluster.Kill(leader)
		s.progress(10)
		if err := cluster.Restart(leader); err != nil {
			t.Fatal(err)
		}
		if err := cluster.WaitCurrent(t.Context(), "oatmill"); err != nil {
			t.Fatal(err)
		}
		s.kill()
		cut, err := cluster.WaitLeader(t.Context(), "oatmill")
		if err != nil {
			t.Fatal(err)
		}
		cluster.CutOff(cut)
		s.progress(10)
		cluster.Heal(cut)
		if err := cluster.WaitCurrent(t.Context(), "oatmill"); err != nil {
			t.Fatal(err)
		}
	}
	s.progress(10)
	s.judge(s.own())
}
