package oat

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/oatmill/oatmill/events"
)

// chain is what the verifier knows of an organization's stream.
type chain struct {
	// followed is the last record that came from the log.
	followed events.Head
	// ahead are the records after it that commands of this process appended. They are
	// folded already; the log brings them a little later.
	ahead []events.Mark
	// required is a version, at a position of the log, up to which the stream must be folded
	// before anything opens: a command of this process appended it.
	required   events.Version
	requiredAt events.Position
}

// head returns the last record that is folded.
func (c *chain) head() events.Head {
	n := len(c.ahead)
	if n == 0 {
		return c.followed
	}
	return events.Head{Version: c.followed.Version + events.Version(n), Hash: c.ahead[n-1].Hash}
}

// complete reports whether everything is folded that commands of this process appended.
func (c *chain) complete() bool { return c.head().Version >= c.required }

// lost reports whether the log was followed up to p without bringing a record that a
// command of this process appended before p.
func (c *chain) lost(p events.Position) bool {
	return len(c.ahead) > 0 && c.ahead[0].Position <= p || !c.complete() && c.requiredAt <= p
}

// closure says why an organization is closed.
type closure struct {
	problem error
	since   time.Time
	// moved is set when a command of this process appended to the organization meanwhile.
	moved bool
}

// Position returns the position up to which the verifier has followed the log.
func (v *Verifier) Position() events.Position {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.position
}

// Last returns the marks of the last record that the verifier followed and of the newest
// one that a command of its own process appended. It implements projection.Rebuilder: a log
// that does not have these records has lost its end, and the verifier is reset.
func (v *Verifier) Last() (last []events.Mark) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, mark := range []events.Mark{v.followed, v.appended} {
		if mark.Position > 0 {
			last = append(last, mark)
		}
	}
	return last
}

// Confirm notes that the verifier was fed every record that was committed before at, a
// reading of VerifierConfig.Now's clock.
func (v *Verifier) Confirm(at time.Time) {
	v.clock.set()
	v.confirmed.Store(at.UnixNano())
}

// Apply folds the next records of the log. Records at or below [Verifier.Position] are
// skipped. A record that does not continue what the verifier knows of its organization
// closes that organization: nothing of it opens until [Verifier.Refold] has read it again.
//
// The error is [events.ErrUnknownType] or the context's. The verifier has then folded every
// record before the one that the error is about; its position tells which.
func (v *Verifier) Apply(ctx context.Context, batch []events.Recorded) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var newest *events.Recorded
	defer func() {
		if newest != nil {
			v.followed = newest.Mark()
			v.followDelay.Store(max(0, v.clock.read()-newest.Time.UnixNano()))
		}
	}()
	for i := range batch {
		r := &batch[i]
		if r.Position <= v.position {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.Stream.Kind() == events.KindOrganization {
			if err := v.follow(r); err != nil {
				return fmt.Errorf("verifier: %w", err)
			}
		}
		v.position, newest = r.Position, r
	}
	v.closeLost()
	return nil
}

// follow folds the next record of an organization's stream as the log has it. Records of
// this process's own commands are folded already: the log must bring the same ones. The
// error is [events.ErrUnknownType]. The caller holds v.mu.
func (v *Verifier) follow(r *events.Recorded) error {
	t := v.tenant(r.Stream.Name())
	if v.closed[t] != nil {
		return nil
	}
	head := t.chain.followed
	err := head.Advance(r)
	switch {
	case err != nil:
	case len(t.chain.ahead) == 0:
		err = v.foldRecord(t, r)
	case t.chain.ahead[0].Hash == head.Hash:
		t.chain.ahead = t.chain.ahead[1:]
	default:
		err = &events.ChainError{Stream: r.Stream, Version: r.Version, Problem: "is not the record that this process appended"}
	}
	switch {
	case errors.Is(err, events.ErrUnknownType):
		return err
	case err != nil:
		v.closeTenant(t, err)
		return nil
	}
	if t.chain.followed = head; len(t.chain.ahead) == 0 {
		t.chain.ahead = nil
	}
	v.reopen(t)
	return nil
}

// keepAhead notes a record that is folded before the log brings it.
func (v *Verifier) keepAhead(t *tenant, r events.Mark) {
	t.chain.ahead = append(t.chain.ahead, r)
	v.ahead[t] = true
}

// closeLost closes the organizations that are ahead of the log by a record which the log
// did not bring at its position: the log has lost it.
func (v *Verifier) closeLost() {
	for t := range v.ahead {
		switch {
		case v.closed[t] != nil:
		case len(t.chain.ahead) == 0 && t.chain.complete():
			delete(v.ahead, t)
		case t.chain.lost(v.position):
			v.closeTenant(t, &events.ChainError{
				Stream: events.OrganizationStream(t.name), Version: t.chain.followed.Version + 1, Problem: "is not in the log any more",
			})
		}
	}
}

// foldRecord folds a record that continues the tenant's stream.
func (v *Verifier) foldRecord(t *tenant, r *events.Recorded) error {
	payload, err := r.Payload()
	if err != nil {
		return err
	}
	if err := v.foldPayload(t, payload); err != nil {
		return fmt.Errorf("%w: position %d in %s: version %d: %v", events.ErrDamaged, r.Position, r.Stream, r.Version, err)
	}
	return nil
}

// closeTenant has nothing of the organization open until it was folded again.
func (v *Verifier) closeTenant(t *tenant, problem error) {
	v.closed[t] = &closure{problem: problem, since: time.Unix(0, v.clock.read())}
	v.reopen(t)
	v.cfg.Logger.LogAttrs(context.Background(), slog.LevelWarn, "organization closed until it is folded again",
		slog.String("organization", t.name), slog.Any("error", problem))
}

// reopen decides again whether the organization's tokens may open.
func (v *Verifier) reopen(t *tenant) {
	t.open.Store(v.closed[t] == nil && t.chain.complete() && v.cfg.Plans[*t.plan.Load()].HasTokens())
}

// observe folds records that the service of this process has just appended. If records of
// other processes come before them, it reads those from the log; if it cannot, the
// organization stays closed until Apply has brought them.
func (v *Verifier) observe(ctx context.Context, log events.Log, records []events.Recorded) {
	name, last := records[0].Stream.Name(), &records[len(records)-1]
	v.mu.Lock()
	known := v.tenant(name).chain.head().Version
	v.mu.Unlock()
	if known+1 < records[0].Version {
		records = v.missed(ctx, log, name, known)
	}
	if head, overtaken := v.adopt(name, last, records); overtaken {
		v.check(ctx, log, name, head)
	}
}

// adopt folds the records that follow what is known of the organization. It reports that
// the log was followed beyond a record, so that it cannot be compared, and up to where.
func (v *Verifier) adopt(name string, last *events.Recorded, records []events.Recorded) (head events.Head, overtaken bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.tenant(name)
	if c := v.closed[t]; c != nil {
		c.moved = true
		return events.Head{}, false
	}
	if last.Position > v.appended.Position {
		v.appended = last.Mark()
	}
	if last.Version > t.chain.required {
		t.chain.required, t.chain.requiredAt = last.Version, last.Position
		v.ahead[t] = true
	}
	for i := range records {
		r := &records[i]
		before, err := v.adoptOne(t, r)
		if err != nil {
			v.closeTenant(t, err)
			return events.Head{}, false
		}
		overtaken = overtaken || before
	}
	v.reopen(t)
	return t.chain.head(), overtaken
}

// adoptOne folds a record, or compares it with the one that is known at its version. It
// reports that the version lies before those of which the hash is known.
func (v *Verifier) adoptOne(t *tenant, r *events.Recorded) (before bool, err error) {
	c := t.chain
	switch head := c.head(); {
	case r.Version > head.Version:
		if err := head.Advance(r); err != nil {
			return false, err
		}
		if err := v.foldRecord(t, r); err != nil {
			return false, err
		}
		v.keepAhead(t, events.Mark{Position: r.Position, Hash: head.Hash})
		return false, nil
	case r.Version < c.followed.Version:
		return true, nil
	case r.Version == c.followed.Version && r.Hash() == c.followed.Hash:
		return false, nil
	case r.Version > c.followed.Version && r.Hash() == c.ahead[r.Version-c.followed.Version-1].Hash:
		return false, nil
	}
	return false, &events.ChainError{Stream: r.Stream, Version: r.Version, Problem: "is another record than the one that was followed"}
}

// check closes the organization unless the log has the record that the verifier's state of
// it ends with. A log that lost its end and grew again can have a record of this process at
// a version that the verifier has seen another record at.
func (v *Verifier) check(ctx context.Context, log events.Log, name string, head events.Head) {
	stream := events.OrganizationStream(name)
	err := error(&events.ChainError{Stream: stream, Version: head.Version, Problem: "is not in the log any more"})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), missedTimeout)
	defer cancel()
	for r, failed := range log.ReadStream(ctx, stream, head.Version-1) {
		if err = failed; err == nil && r.Hash() != head.Hash {
			err = &events.ChainError{Stream: stream, Version: r.Version, Problem: "is another record than the one that was followed"}
		}
		break
	}
	if err == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if t := v.tenant(name); v.closed[t] == nil {
		v.closeTenant(t, err)
	}
}

// missedTimeout is how long a command that is done waits for its verifier to read what
// other processes did before it.
const missedTimeout = 5 * time.Second

// missed returns the organization's records after known, as far as they can be read. A
// verifier that is not up to date reads none: it refuses everyone until it has been fed
// them, and a command of a process that just started must not wait for a whole stream.
func (v *Verifier) missed(ctx context.Context, log events.Log, name string, known events.Version) (records []events.Recorded) {
	if _, fresh := v.fresh(); !fresh {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), missedTimeout)
	defer cancel()
	for r, err := range log.ReadStream(ctx, events.OrganizationStream(name), known) {
		if err != nil {
			v.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "organization closed until it is followed", slog.String("organization", name), slog.Any("error", err))
			break
		}
		records = append(records, r)
	}
	return records
}

// Suspects returns the streams of the organizations that are closed because a record did
// not continue what the verifier knew. It implements projection.Rebuilder.
func (v *Verifier) Suspects() []events.StreamID {
	v.mu.Lock()
	defer v.mu.Unlock()
	var suspects []events.StreamID
	for t := range v.closed {
		suspects = append(suspects, events.OrganizationStream(t.name))
	}
	return suspects
}

// errMoved means that an organization changed while it was folded again.
var errMoved = errors.New("a command appended to the organization while it was folded again")

// Refold replaces what the verifier knows of an organization with what its stream in the
// log says, and opens it. It implements projection.Rebuilder: records are the stream from
// version 1. An organization whose records do not form a chain stays closed.
func (v *Verifier) Refold(ctx context.Context, stream events.StreamID, records iter.Seq2[events.Recorded, error]) error {
	v.mu.Lock()
	c := v.closed[v.tenant(stream.Name())]
	if c != nil {
		c.moved = false
	}
	v.mu.Unlock()
	if c == nil {
		return nil
	}
	var all []events.Recorded
	for r, err := range records {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if r.Stream == stream {
			all = append(all, r)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.tenant(stream.Name())
	if c.moved {
		return errMoved
	}
	if err := v.foldAgain(t, all); err != nil {
		c.problem = err
		return err
	}
	delete(v.closed, t)
	v.reopen(t)
	return nil
}

// foldAgain forgets the organization's tokens and folds its records.
func (v *Verifier) foldAgain(t *tenant, records []events.Recorded) error {
	v.forget(t)
	for i := range records {
		r := &records[i]
		head := t.chain.head()
		if err := head.Advance(r); err != nil {
			return err
		}
		if err := v.foldRecord(t, r); err != nil {
			return err
		}
		if r.Position <= v.position {
			t.chain.followed = head
		} else {
			v.keepAhead(t, events.Mark{Position: r.Position, Hash: head.Hash})
		}
	}
	return nil
}

// forget removes all that is known of the organization.
func (v *Verifier) forget(t *tenant) {
	t.chain = new(chain)
	t.plan.Store(new(string))
	for _, c := range v.tokens.all() {
		if c.tenant == t {
			v.digests.remove(c)
			v.tokens.remove(c)
		}
	}
}

// Reset forgets everything and refuses until the verifier was fed and confirmed again. It
// implements projection.Rebuilder.
func (v *Verifier) Reset(context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.clear()
	return nil
}
