package invariants

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
)

// call is one command on its way, and what came of it.
type call struct {
	command
	id      string // its correlation
	process *process
	engine  *engine
	trouble *trouble
	done    bool // judged

	// Between which versions of the stream, and at which times of the process's
	// clock, the command was carried out.
	from, to events.Version
	times    int
	nows     []time.Time

	err    error
	token  oat.Token
	secret oat.Secret
	record *events.Recorded // what it left in the log
	after  state            // what the record made
}

// give gives a command to a process and judges what comes of it.
func (w *world) give(t rapid.TB, p *process, c command, d *trouble) *call {
	called := w.call(p, c, d)
	w.absorb(t)
	w.conclude(t, called)
	return called
}

// call gives a command to a process. It is safe for concurrent use.
func (w *world) call(p *process, c command, d *trouble) *call {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d.cancel = cancel
	w.mu.Lock()
	called := &call{command: c, id: fmt.Sprintf("call-%d", len(w.calls)), process: p, engine: p.engine.Load(), trouble: d, times: p.clock.times()}
	w.calls[called.id] = called
	w.mu.Unlock()
	called.by.Correlation = called.id
	called.from = w.version(c.org)
	if d.late {
		d.refused = true
		cancel()
	}
	called.carryOut(context.WithValue(ctx, troubleKey{}, d))
	called.to = w.version(c.org)
	called.nows = p.clock.since(called.times)
	return called
}

// version is the version of an organization's stream now. It is safe for concurrent
// use.
func (w *world) version(org string) events.Version {
	if org == "" {
		return 0
	}
	w.mu.Lock()
	version := w.latest[org]
	w.mu.Unlock()
	for r, err := range w.log.ReadStream(context.Background(), events.OrganizationStream(org), version) {
		if err != nil {
			break // of a name that no stream can have
		}
		version = r.Version
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latest[org] = max(w.latest[org], version)
	return version
}

// carryOut gives the command to the service, with slices that are the caller's own again
// afterwards and are scribbled over.
func (c *call) carryOut(ctx context.Context) {
	s := c.engine.service
	switch cmd := c.what.(type) {
	case oat.Register:
		c.err = s.Register(ctx, c.by, cmd)
	case oat.ChangePlan:
		c.err = s.ChangePlan(ctx, c.by, cmd)
	case oat.AddOwner:
		c.err = s.AddOwner(ctx, c.by, cmd)
	case oat.RemoveOwner:
		c.err = s.RemoveOwner(ctx, c.by, cmd)
	case oat.Generate:
		cmd.Resources = copied(cmd.Resources)
		c.token, c.secret, c.err = s.Generate(ctx, c.by, cmd)
		scribble(cmd.Resources)
	case oat.Edit:
		cmd.Resources = copied(cmd.Resources)
		c.token, c.err = s.Edit(ctx, c.by, cmd)
		scribble(cmd.Resources)
	case oat.Deactivate:
		c.err = s.Deactivate(ctx, c.by, cmd)
	case oat.Delete:
		c.err = s.Delete(ctx, c.by, cmd)
	}
}

func copied(resources []events.Resource) []events.Resource {
	own := slices.Clone(resources)
	for i := range own {
		own[i].Scopes = slices.Clone(own[i].Scopes)
	}
	return own
}

func scribble(resources []events.Resource) {
	for _, r := range resources {
		clear(r.Scopes)
	}
	clear(resources)
}

// absorb judges what is new in the log: every record must be right after the ones
// before it in its stream, and be what one command asked for, once.
func (w *world) absorb(t rapid.TB) {
	for r, err := range w.log.ReadAll(context.Background(), w.seen) {
		if err != nil {
			t.Fatalf("ReadAll after %d: %v", w.seen, err)
		}
		w.seen = r.Position
		w.records = append(w.records, r)
		w.ears.noteRecord(r)
		if r.Stream.Kind() == events.KindUsage {
			w.uses.fold(t, r)
			continue
		}
		w.absorbOne(t, r)
	}
}

func (w *world) absorbOne(t rapid.TB, r events.Recorded) {
	h := w.org(r.Stream.Name())
	before := h.last()
	after, err := before.after(r)
	if err != nil {
		t.Fatalf("absorb: %v", err)
	}
	for _, broken := range []string{w.rules.breaksI1(before, r), breaksI2(before, r)} {
		if broken != "" {
			t.Fatalf("%s", broken)
		}
	}
	if r.Correlation != seeded {
		w.attribute(t, before, after, r)
	}
	if r.Type == "token.generated.v1" {
		w.note(t, r)
	}
	h.states = append(h.states, after)
}

// attribute finds the command that a record is of.
func (w *world) attribute(t rapid.TB, before, after state, r events.Recorded) {
	c := w.calls[r.Correlation]
	switch {
	case c == nil:
		t.Fatalf("%s at %d: a %s nobody asked for", r.Stream, r.Version, r.Type)
	case c.done:
		t.Fatalf("%s at %d: a %s of a command that ended before, with %v", r.Stream, r.Version, r.Type, c.err)
	case c.record != nil:
		t.Fatalf("%s at %d: %s is recorded twice", r.Stream, r.Version, r.Type)
	case events.OrganizationStream(c.org) != r.Stream:
		t.Fatalf("%s at %d: %s of a command to %q", r.Stream, r.Version, r.Type, c.org)
	case r.Actor != cleanedActor(c.by).String() || r.Reason != cleanedActor(c.by).Reason:
		t.Fatalf("%s at %d: recorded for %q because of %q, wanted %+v", r.Stream, r.Version, r.Actor, r.Reason, c.by)
	}
	problem := "the clock never showed " + r.Time.String()
	for _, now := range c.nows {
		if !now.Truncate(time.Microsecond).Equal(r.Time) {
			continue
		}
		v := w.rules.judge(before, c.command, now)
		if problem = v.permits(r); problem == "" {
			break
		}
	}
	if problem != "" {
		t.Fatalf("%s at %d: %+v: %s", r.Stream, r.Version, c.what, problem)
	}
	c.record, c.after = &r, after
}

// note notes a new token, which must be unlike every other.
func (w *world) note(t rapid.TB, r events.Recorded) {
	f, err := read(r)
	if err != nil || !isID(f.Token) || len(f.Digest) != 2*sha256.Size {
		t.Fatalf("%s at %d: token %q with digest %q: %v", r.Stream, r.Version, f.Token, f.Digest, err)
	}
	if w.digests[f.Digest] || w.digests[f.Token] {
		t.Fatalf("%s at %d: token %s is not unlike every other", r.Stream, r.Version, f.Token)
	}
	w.digests[f.Digest], w.digests[f.Token] = true, true
	w.ids = append(w.ids, uuid.MustParse(f.Token))
}

// conclude judges the answer to a command whose records are absorbed.
func (w *world) conclude(t rapid.TB, c *call) {
	c.done = true
	w.ears.hear(c.err, c.token, &c.token)
	w.ears.hearClosely(c.secret)
	if problem := w.problem(c); problem != "" {
		t.Fatalf("%+v by %+v on %q, at versions %d to %d, in trouble %+v: %s", c.what, c.by, c.org, c.from, c.to, *c.trouble, problem)
	}
	scribble(c.token.Resources) // it is the caller's
	if c.err == nil && c.record != nil {
		c.engine.learn(c)
	}
	if _, ok := c.what.(oat.Generate); ok && c.err == nil {
		w.held = append(w.held, held{c.org, c.token.ID.String(), c.token.ID, c.secret})
	}
}

// problem says what is wrong with the answer, "" when nothing is.
func (w *world) problem(c *call) string {
	switch left := c.record != nil; {
	case c.err == nil && left:
		return c.returned(c.after)
	case c.err == nil:
		return w.someMoment(c, func(s state, v verdict) string {
			if len(v.refusals) > 0 || v.event != "" {
				return fmt.Sprintf("done without a record, to be expected was %q or a refusal with %v", v.event, v.refusals)
			}
			return c.returned(s)
		})
	case errors.Is(c.err, events.ErrUnknownOutcome):
		return c.wants(c.trouble.unknown)
	case left:
		return fmt.Sprintf("failed with %q, and recorded nevertheless", c.err)
	case errors.Is(c.err, errFault), errors.Is(c.err, context.Canceled):
		return c.wants(c.trouble.refused || c.trouble.unknown)
	}
	return w.someMoment(c, func(_ state, v verdict) string { return v.permitsRefusal(c.err) })
}

func (c *call) wants(trouble bool) string {
	switch {
	case !trouble:
		return fmt.Sprintf("failed without cause: %v", c.err)
	case c.secret.Reveal() != "" || c.token.ID != uuid.Nil:
		return "failed, and returned something"
	}
	return ""
}

// someMoment demands that the answer was right at some moment of the call.
func (w *world) someMoment(c *call, right func(state, verdict) string) (problem string) {
	h := w.org(c.org)
	for version := c.from; version <= min(c.to, h.version()); version++ {
		for _, now := range c.nows {
			s := h.states[version]
			if problem = right(s, w.rules.judge(s, c.command, now)); problem == "" {
				return ""
			}
		}
	}
	return problem
}

// returned says how the returned token is not the one of the state, "" when it is.
func (c *call) returned(s state) string {
	var id uuid.UUID
	switch cmd := c.what.(type) {
	case oat.Generate:
		id = c.token.ID
	case oat.Edit:
		id = cmd.Token
	default:
		return ""
	}
	want, got := s.tokens[id.String()], fromOat(c.token)
	sum := sha256.Sum256([]byte(c.secret.Reveal()))
	if _, ok := c.what.(oat.Generate); ok {
		got.digest = hex.EncodeToString(sum[:])
		if !isSecret(c.secret.Reveal()) {
			return "the secret does not have the form of one"
		}
	} else {
		got.digest = want.digest
	}
	if !reflect.DeepEqual(got, want) || c.token.Organization != c.org {
		return fmt.Sprintf("returned was %+v of %s, to be expected was %+v", got, c.token.Organization, want)
	}
	return ""
}

func fromOat(k oat.Token) token {
	return token{
		id: k.ID.String(), label: k.Label, description: k.Description, createdBy: k.CreatedBy, createdAt: k.CreatedAt.Format(time.RFC3339Nano),
		expires: k.Expires.String(), resources: k.Resources, inactive: !k.Active, version: k.Version,
	}
}

// learn is what the verifier beside a service knows once the command is carried out.
// Where records of others come before the command's own it reads the stream, unless it
// is not sure of itself and refuses everyone anyway; and what it could not read it must
// be fed before it opens again.
func (e *engine) learn(c *call) {
	known, version := e.known[c.org], c.record.Version
	switch {
	case known+1 >= version:
		known = max(known, version)
	case !e.fresh(c.nows[len(c.nows)-1]):
	case c.trouble.failRead && !c.trouble.cancelRead: // it reads on when the service's caller leaves
		known = min(known+events.Version(c.trouble.read), c.to)
	default:
		known = c.to
	}
	e.known[c.org], e.required[c.org] = known, max(e.required[c.org], version)
}
