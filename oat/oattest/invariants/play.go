package invariants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// Player is one process of several that work on one log, while somebody kills servers,
// cuts lines and kills players. It gives random commands by the clock of the machine and
// writes down what it asked for and what it was told. [Judge] reads that afterwards.
type Player struct {
	// Log is the player's own way to the log. Required.
	Log events.Log
	// Name is unlike that of every other player, also of one that was killed. Required.
	Name string
	// Seed decides what commands it gives.
	Seed uint64
	// Journal takes a line of JSON before and after each command. A player may be killed
	// at any moment; a last line that is cut short is no harm. Required.
	Journal io.Writer
	// Pace is how long each goroutine rests between two commands, so that the machine has
	// time for servers and other players. 0 means not at all.
	Pace time.Duration
	// Goroutines is how many commands it gives at the same time. 0 means 4.
	Goroutines int
	// Patience is how long it waits for one command, and in the end for the log to answer
	// again. 0 means 20 seconds.
	Patience time.Duration
	// Settle is called when no more commands will be given, and returns when the same is
	// true of every other player. Nil when there is none.
	Settle func()
}

// entry is a line of a journal.
type entry struct {
	ID      string         `json:"id"` // of the command: its correlation
	Kind    string         `json:"kind"`
	Org     string         `json:"org,omitempty"`
	By      oat.Actor      `json:"by,omitzero"`
	Variant int            `json:"variant,omitempty"`
	Target  uuid.UUID      `json:"target,omitzero"`
	From    string         `json:"from,omitempty"`    // organization of the target
	Version events.Version `json:"version,omitempty"` // that the command is given for
	Begin   time.Time      `json:"begin,omitzero"`

	// What came of it, in the second line.
	End     time.Time     `json:"end,omitzero"`
	Outcome string        `json:"outcome,omitempty"`
	Reason  int           `json:"reason,omitempty"` // index of the refusal among reasons
	Fields  []string      `json:"fields,omitempty"` // of a refusal as invalid
	Count   int           `json:"count,omitempty"`
	Limit   int           `json:"limit,omitempty"`
	Error   string        `json:"error,omitempty"`
	Token   *journalToken `json:"token,omitempty"`
	Secret  string        `json:"secret,omitempty"`

	// What a player that ended in order saw in the end.
	Position events.Position `json:"position,omitempty"`
	Portrait string          `json:"portrait,omitempty"`
	Opens    map[string]bool `json:"opens,omitempty"` // by token
}

// journalToken is a token as a command returned it.
type journalToken struct {
	ID, Label, Description, CreatedBy, CreatedAt, Expires string
	Resources                                             []events.Resource
	Inactive                                              bool
	Version                                               events.Version
}

// Outcomes of a command.
const (
	outcomeDone    = "done"
	outcomeRefused = "refused" // for a reason in the rules; nothing is recorded
	outcomeUnknown = "unknown"
	outcomeFailed  = "failed" // for a reason in the world; nothing is recorded
)

// player is a Player at work.
type player struct {
	Player
	service  *oat.Service
	verifier *oat.Verifier
	views    *views
	runner   *projection.Runner

	mu   sync.Mutex
	next int
	held []held
}

// Play gives commands until ctx ends. Then it waits for the others, and for the log to
// answer, follows it to its end, and writes down what it sees there.
func (p Player) Play(ctx context.Context) error {
	if p.Goroutines == 0 {
		p.Goroutines = 4
	}
	if p.Patience == 0 {
		p.Patience = 20 * time.Second
	}
	play := &player{Player: p, views: newViews()}
	recorder, err := oat.NewRecorder(oat.RecorderConfig{Log: p.Log, Interval: 100 * time.Millisecond})
	if err != nil {
		return err
	}
	play.verifier = oat.NewVerifier(oat.VerifierConfig{Plans: plans(), Recorder: recorder})
	if play.service, err = oat.New(oat.Config{Log: p.Log, Plans: plans(), Verifier: play.verifier, CacheSize: 2}); err != nil {
		return err
	}
	followed := append(play.views.all(), play.verifier)
	if play.runner, err = projection.NewRunner(projection.RunnerConfig{Log: p.Log, Projections: followed}); err != nil {
		return err
	}
	if err := play.rage(ctx); err != nil {
		return err
	}
	err = play.recordUses(recorder)
	if p.Settle != nil {
		p.Settle()
	}
	return errors.Join(err, play.conclude())
}

// rage gives commands from several goroutines, beside a runner, until ctx ends.
func (p *player) rage(ctx context.Context) error {
	following, stop := context.WithCancel(context.Background())
	defer stop()
	followed := make(chan error, 1)
	go func() { followed <- p.runner.Run(following) }()
	var wg sync.WaitGroup
	for i := range p.Goroutines {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(p.Seed, uint64(i)))
			for _, org := range []string{acme, beta} {
				p.give(step{kind: "register", org: org, by: oat.Actor{Host: "sign-up"}}, held{})
			}
			for ctx.Err() == nil {
				p.turn(random)
				time.Sleep(p.Pace)
			}
		})
	}
	wg.Wait()
	stop()
	return <-followed
}

// turn is one random thing to do.
func (p *player) turn(random *rand.Rand) {
	s := step{
		kind: draw(random, "generate", "generate", "generate", "edit", "edit", "deactivate", "delete", "delete",
			"change plan", "add owner", "remove owner", "verify", "verify"),
		org:     draw(random, acme, acme, beta),
		by:      draw(random, oat.Actor{User: "alice"}, oat.Actor{User: "alice"}, oat.Actor{Host: "billing"}, oat.Actor{User: "bob"}, oat.Actor{User: "mallory"}),
		variant: random.IntN(6),
	}
	if s.kind == "verify" {
		p.verify(random)
		return
	}
	target := held{org: s.org}
	if all := p.views.tokens.List(s.org, projection.Query{}).Tokens; len(all) > 0 {
		seen := all[random.IntN(len(all))]
		target.id = seen.ID
		if s.variant%2 == 1 {
			s.version = seen.Version // which somebody else may change at this moment
		}
	}
	p.give(s, target)
}

func draw[T any](random *rand.Rand, from ...T) T { return from[random.IntN(len(from))] }

// verify uses a secret. What it opens is judged in the end.
func (p *player) verify(random *rand.Rand) {
	p.mu.Lock()
	if len(p.held) == 0 {
		p.mu.Unlock()
		return
	}
	h := p.held[random.IntN(len(p.held))]
	p.mu.Unlock()
	_, _ = p.verifier.Verify(context.Background(), oat.Attempt{Organization: h.org, Secret: h.secret, Address: p.Name})
}

// give gives a command, and writes down what was asked for and what came of it.
func (p *player) give(s step, target held) {
	p.mu.Lock()
	p.next++
	e := entry{ID: fmt.Sprintf("%s-%d", p.Name, p.next), Kind: s.kind, Org: s.org, By: s.by, Variant: s.variant, Target: target.id, From: target.org, Version: s.version}
	p.mu.Unlock()
	e.Begin = events.Instant(time.Now())
	p.write(e)
	c := e.call()
	c.engine = &engine{service: p.service, verifier: p.verifier}
	ctx, cancel := context.WithTimeout(context.Background(), p.Patience)
	defer cancel()
	c.carryOut(ctx)
	e.End = time.Now().UTC()
	e.tell(c)
	if c.err == nil {
		e.Error = p.notice(c)
	}
	p.write(e)
	if e.Outcome == outcomeFailed {
		time.Sleep(5 * time.Millisecond) // the log is away, and asking faster brings nothing
	}
}

// call is the command of an entry.
func (e *entry) call() *call {
	s := step{kind: e.Kind, org: e.Org, by: e.By, variant: e.Variant, version: e.Version}
	c := &call{command: s.command(e.Begin, held{org: e.From, id: e.Target}), id: e.ID, trouble: new(trouble)}
	c.by.Correlation = e.ID
	return c
}

// tell writes into the entry what came of the command.
func (e *entry) tell(c *call) {
	e.Reason = slices.IndexFunc(reasons(), func(reason error) bool { return errors.Is(c.err, reason) })
	switch {
	case c.err == nil:
		e.Outcome = outcomeDone
		if c.token.ID != uuid.Nil {
			k := fromOat(c.token)
			e.Token = &journalToken{k.id, k.label, k.description, k.createdBy, k.createdAt, k.expires, k.resources, k.inactive, k.version}
			e.Secret = c.secret.Reveal()
		}
		return
	case errors.Is(c.err, events.ErrUnknownOutcome):
		e.Outcome = outcomeUnknown
	case e.Reason >= 0:
		e.Outcome = outcomeRefused
		var exceeded *quota.ExceededError
		if errors.As(c.err, &exceeded) {
			e.Count, e.Limit = exceeded.Count, exceeded.Limit
		}
		var problems oat.ValidationErrors
		if errors.As(c.err, &problems) {
			for _, problem := range problems {
				e.Fields = append(e.Fields, problem.Field)
			}
		}
	default:
		e.Outcome = outcomeFailed
	}
	e.Error = c.err.Error()
}

// notice remembers a secret, and demands that a token whose end is acknowledged does
// not open in this process.
func (p *player) notice(c *call) (problem string) {
	switch cmd := c.what.(type) {
	case oat.Generate:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.held = append(p.held, held{org: c.org, token: c.token.ID.String(), id: c.token.ID, secret: c.secret})
	case oat.Deactivate:
		return p.closed(c.org, cmd.Token)
	case oat.Delete:
		return p.closed(c.org, cmd.Token)
	}
	return ""
}

func (p *player) closed(org string, id uuid.UUID) string {
	if _, err := p.verifier.Recheck(context.Background(), oat.Recheck{Organization: org, Token: id}); err == nil {
		return "the token opens after its end was acknowledged"
	}
	return ""
}

func (p *player) write(e entry) {
	line, err := json.Marshal(e)
	if err != nil {
		panic(err) // every field can be written
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = p.Journal.Write(append(line, '\n'))
}

// recordUses closes the recorder. While the log does not answer it tries again, as a
// host that is told to stop does for as long as it may.
func (p *player) recordUses(recorder *oat.Recorder) error {
	ctx, cancel := context.WithTimeout(context.Background(), p.Patience)
	defer cancel()
	for {
		err := recorder.Flush(ctx)
		if err == nil {
			return recorder.Close(ctx)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(err, recorder.Close(ctx))
		}
	}
}

// conclude follows the log to its end and writes down how things stand there.
func (p *player) conclude() error {
	ctx, cancel := context.WithTimeout(context.Background(), p.Patience)
	defer cancel()
	for {
		err := p.runner.CatchUp(ctx)
		if err == nil {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
	e := entry{ID: p.Name, Kind: "end", End: time.Now().UTC(), Position: p.verifier.Position(), Opens: make(map[string]bool)}
	for _, h := range p.held {
		_, err := p.verifier.Verify(ctx, oat.Attempt{Organization: h.org, Secret: h.secret})
		e.Opens[h.token] = err == nil
	}
	e.Portrait = p.views.summary()
	p.write(e)
	return nil
}
