package oat_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/quota"
)

// transaction is a view of a log from inside a transaction: it shows what the log holds
// and what it will hold after the commit. It is for the tests of what a service does
// with such a view; real ones are tested where the databases are.
type transaction struct {
	events.Log
	pending []events.Recorded
	reads   int // records that were read
}

func (tx *transaction) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	var head events.Head
	for r, err := range tx.all(ctx, stream, 0) {
		if err != nil {
			return nil, err
		}
		head = events.Head{Version: r.Version, Hash: r.Hash()}
	}
	if !head.Admits(expected, batch) {
		return nil, &events.ConflictError{Stream: stream, Expected: expected, Actual: head.Version}
	}
	records, _ := events.Seal(stream, head, batch)
	tx.pending = append(tx.pending, records...)
	return records, nil
}

func (tx *transaction) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		for r, err := range tx.all(ctx, stream, after) {
			tx.reads++
			if !yield(r, err) {
				return
			}
		}
	}
}

func (tx *transaction) all(ctx context.Context, stream events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	return func(yield func(events.Recorded, error) bool) {
		for r, err := range tx.Log.ReadStream(ctx, stream, after) {
			if !yield(r, err) {
				return
			}
		}
		for _, r := range tx.pending {
			if r.Stream == stream && r.Version > after && !yield(r, nil) {
				return
			}
		}
	}
}

// commit appends what the transaction held.
func (tx *transaction) commit(t *testing.T) {
	t.Helper()
	for _, r := range tx.pending {
		_, err := tx.Log.Append(t.Context(), r.Stream, r.Version-1, r.Envelope)
		must(t, err)
	}
}

// onlyLog hides the optional abilities of a log, as a view inside a transaction does.
type onlyLog struct{ events.Log }

// Commands inside a transaction build on each other, and nothing outside knows of them
// before the commit. Breaks when Within keeps the verifier, the cache or the log of the
// service it is made of.
func TestWithin(t *testing.T) {
	d := newDesk(t)
	before, _ := d.generate()
	tx := &transaction{Log: onlyLog{d.Log}}
	inner := d.Service.Within(tx, nil)
	token, secret, err := inner.Generate(t.Context(), alice, wellFormed())
	must(t, err)
	if tx.reads > 1 { // the one that what is in memory ends with
		t.Errorf("%d records were read of an organization that is in memory", tx.reads)
	}
	label := "in the transaction"
	_, err = inner.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: &label, Version: token.Version})
	must(t, err)
	must(t, inner.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: before.ID}))

	d.opens(secret, false)
	if _, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: &label}); !errors.Is(err, oat.ErrTokenNotFound) {
		t.Errorf("edit of what is not committed: %v", err)
	}
	tx.commit(t)
	d.follow()
	d.opens(secret, true)
	err = d.Service.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: before.ID})
	if !errors.Is(err, oat.ErrInactive) {
		t.Errorf("deactivate again after the commit: %v", err)
	}
}

// follow gives the verifier what the log holds.
func (d *desk) follow() {
	d.t.Helper()
	must(d.t, d.Verifier.Apply(d.t.Context(), d.records()))
}

// A savepoint that is rolled back takes with it what the service inside knew of it. Breaks
// when follow does not look for the record that the state ends with.
func TestWithinASavepoint(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate()
	tx := &transaction{Log: onlyLog{d.Log}}
	inner := d.Service.Within(tx, nil)
	for range 3 {
		must(t, inner.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token.ID}))
		if err := inner.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token.ID}); !errors.Is(err, oat.ErrInactive) {
			t.Errorf("deactivated twice: %v", err)
		}
		tx.pending = nil
	}
	_, _, err := inner.Generate(t.Context(), alice, wellFormed())
	must(t, err)
}

// A log that lost its last records, as one on a standby may, is believed. Breaks in the
// same way.
func TestLogThatLostItsEnd(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate()
	tx := &transaction{Log: onlyLog{d.Log}}
	service, err := oat.New(oat.Config{Log: tx, Now: d.Clock.Now})
	must(t, err)
	must(t, service.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token.ID}))
	tx.pending = nil
	_, err = d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: pointer("from elsewhere")})
	must(t, err)
	again, _, err := service.Generate(t.Context(), alice, wellFormed()) // meets no conflict
	must(t, err)
	must(t, service.Delete(t.Context(), alice, oat.Delete{Organization: "acme", Token: again.ID}))
	edited, err := service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Description: pointer("goes on")})
	must(t, err)
	if edited.Label != "from elsewhere" || !edited.Active {
		t.Errorf("%+v, want it active and as it was edited elsewhere", edited)
	}
}

// What was rolled back never was.
func TestWithinRolledBack(t *testing.T) {
	d := newDesk(t)
	inner := d.Service.Within(&transaction{Log: onlyLog{d.Log}}, nil)
	_, secret, err := inner.Generate(t.Context(), alice, wellFormed())
	must(t, err)
	kept, _ := d.generate()
	d.follow()
	d.opens(secret, false)
	if kept.Version != 2 {
		t.Errorf("the next command's version is %d, want 2", kept.Version)
	}
}

// Inside the transaction others' commits are seen, and the limit holds over both.
func TestWithinMeetsOthers(t *testing.T) {
	d := newDesk(t)
	tx := &transaction{Log: onlyLog{d.Log}}
	inner := d.Service.Within(tx, nil)
	must(t, inner.Authorize(t.Context(), alice, "acme"))
	for range 10 {
		d.generate()
	}
	if _, _, err := inner.Generate(t.Context(), alice, wellFormed()); err == nil {
		t.Error("an eleventh token inside a transaction")
	}
}

// A transaction that somebody waits for does not wait for them: the organization's
// entry in memory is busy, and its stream is read instead. Breaks by a deadlock when
// known waits for the entry.
func TestWithinDoesNotWaitForTheCache(t *testing.T) {
	var inner *oat.Service
	log := &hooked{Log: onlyLog{memlog.New()}}
	d := newDesk(t, func(cfg *oat.Config) { cfg.Log, cfg.Verifier = log, nil })
	inner = d.Service.Within(&transaction{Log: log.Log}, nil)
	log.onAppend = func() {
		if _, _, err := inner.Generate(t.Context(), alice, wellFormed()); err != nil {
			t.Error(err)
		}
	}
	_, _, err := d.Service.Generate(t.Context(), alice, wellFormed())
	must(t, err)
}

// Who owns an organization is asked inside, where the host says how, and only where it
// is the host's to say. Breaks when Within keeps the service's own Owners, or lets a
// service have them that keeps owners in the log.
func TestWithinAsksForOwnersInside(t *testing.T) {
	outside, inside := &ownersOf{"alice"}, &ownersOf{"mallory"}
	d := &desk{oattest.New(t, func(cfg *oat.Config) { cfg.Owners = outside }), t}
	must(t, d.Service.Register(t.Context(), billing, oat.Register{Organization: "acme", Plan: quota.Team}))
	tx := &transaction{Log: onlyLog{d.Log}}
	for _, c := range []struct {
		service *oat.Service
		by      oat.Actor
		want    error
	}{
		{d.Service.Within(tx, inside), mallory, nil},
		{d.Service.Within(tx, inside), alice, oat.ErrNotOwner},
		{d.Service.Within(tx, nil), alice, nil},
		{d.Service.Within(tx, nil), mallory, oat.ErrNotOwner},
		{newDesk(t).Service.Within(tx, inside), mallory, oat.ErrNotOwner},
	} {
		if err := c.service.Authorize(t.Context(), c.by, "acme"); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.by.User, err, c.want)
		}
	}
}

// ownersOf says that this user owns everything.
type ownersOf struct{ user string }

func (o *ownersOf) IsOwner(_ context.Context, _, user string) (bool, error) {
	return user == o.user, nil
}

// hooked calls onAppend in the middle of every append.
type hooked struct {
	events.Log
	onAppend func()
}

func (h *hooked) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	if h.onAppend != nil {
		h.onAppend()
	}
	return h.Log.Append(ctx, stream, expected, batch...)
}
