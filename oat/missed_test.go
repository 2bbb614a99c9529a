package oat_test

import (
	"context"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// reads counts the records that are read from streams, as tapped tells of them.
func reads(log *tapped) *int {
	n := new(int)
	log.onRead = func(r *events.Recorded) error {
		if r != nil {
			*n++
		}
		return nil
	}
	return n
}

// The first command of a new process does not read the whole stream for a verifier that
// the log is still to be fed to, and that refuses everyone until then. Break it by
// dropping the question whether the verifier is fresh from Verifier.missed.
func TestFirstCommandDoesNotWaitForTheVerifier(t *testing.T) {
	var log *tapped
	d := newDesk(t, tap(&log))
	token, secret := d.generate()
	for range 20 {
		d.rename(d.Service, token)
	}

	v := oat.NewVerifier(oat.VerifierConfig{Now: d.Clock.Now})
	service, err := oat.New(oat.Config{Log: log, Now: d.Clock.Now, Verifier: v})
	must(t, err)
	read, want := reads(log), len(d.records(acme))
	d.rename(service, token)
	if *read != want {
		t.Errorf("the first command read %d records, want the %d of the stream once", *read, want)
	}

	// A confirmation of the time before the command does not open what it closed.
	stolen, theirs := d.generate()
	must(t, service.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: stolen.ID}))
	records := d.records()
	must(t, v.Apply(t.Context(), records[:len(records)-1]))
	v.Confirm(d.Clock.Now())
	opens(t, v, theirs, false)
	opens(t, v, secret, false)
	must(t, v.Apply(t.Context(), records))
	opens(t, v, theirs, false)
	opens(t, v, secret, true)
}

// rename edits the label of a token of acme to another one.
func (d *desk) rename(service *oat.Service, token oat.Token) {
	d.t.Helper()
	label := time.Now().Format(time.RFC3339Nano)
	_, err := service.Edit(d.t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: &label})
	must(d.t, err)
}

// hanging is a log whose reads of streams hang after the next append, until their
// context ends, as they do when a network swallows what is sent.
type hanging struct {
	*memlog.Log
	armed, hangs bool
}

func (l *hanging) Append(ctx context.Context, stream events.StreamID, expected events.Version, batch ...events.Envelope) ([]events.Recorded, error) {
	records, err := l.Log.Append(ctx, stream, expected, batch...)
	l.hangs = l.armed && err == nil
	return records, err
}

func (l *hanging) ReadStream(ctx context.Context, stream events.StreamID, after events.Version) iter.Seq2[events.Recorded, error] {
	if !l.hangs {
		return l.Log.ReadStream(ctx, stream, after)
	}
	return func(yield func(events.Recorded, error) bool) {
		<-ctx.Done()
		yield(events.Recorded{}, ctx.Err())
	}
}

// A command that is in the log returns, although the verifier cannot read what others
// did before it; the organization is shut instead. Break it by reading without a limit
// of time in Verifier.missed: the bubble then finds everyone waiting for ever.
func TestCommandReturnsWhenTheVerifierCannotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &hanging{Log: memlog.New()}
		v := oat.NewVerifier(oat.VerifierConfig{MaxStaleness: time.Hour, Now: time.Now})
		v.Confirm(time.Now())
		service, err := oat.New(oat.Config{Log: log, Verifier: v})
		must(t, err)
		other, err := oat.New(oat.Config{Log: log.Log})
		must(t, err)
		must(t, service.Register(t.Context(), alice, oat.Register{Organization: "acme", Plan: quota.Team, Owners: []string{"alice"}}))
		_, secret, err := service.Generate(t.Context(), alice, wellFormed())
		must(t, err)
		must(t, other.AddOwner(t.Context(), alice, oat.AddOwner{Organization: "acme", Owner: "bob"}))
		opens(t, v, secret, true)

		log.armed = true
		begin := time.Now()
		must(t, service.AddOwner(t.Context(), alice, oat.AddOwner{Organization: "acme", Owner: "carol"}))
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("the command took %s", took)
		}
		opens(t, v, secret, false)
		must(t, v.Apply(t.Context(), records(t, log)))
		opens(t, v, secret, true)
	})
}
