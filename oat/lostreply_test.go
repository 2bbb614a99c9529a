package oat_test

import (
	"context"
	"errors"
	"testing"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/logtest"
	"github.com/oatmill/oatmill/oat"
)

// lossy is a desk whose log loses replies as fate says, one append after the other;
// when fate is used up, replies arrive.
type lossy struct {
	*desk
	fate    []logtest.Loss
	appends int
}

func newLossy(t *testing.T) *lossy {
	l := new(lossy)
	l.desk = newDesk(t, func(cfg *oat.Config) {
		cfg.Log = &logtest.Flaky{Complete: cfg.Log.(logtest.Complete), Lose: func(events.StreamID, []events.Envelope) logtest.Loss {
			l.appends++
			if len(l.fate) == 0 {
				return logtest.Delivered
			}
			next := l.fate[0]
			l.fate = l.fate[1:]
			return next
		}}
	})
	return l
}

func (l *lossy) loses(fate ...logtest.Loss) { l.fate, l.appends = fate, 0 }

// always is one fate for as many appends as a command may ever try.
func always(fate logtest.Loss) []logtest.Loss {
	all := make([]logtest.Loss, 1000)
	for i := range all {
		all[i] = fate
	}
	return all
}

// Each command happens once, whatever becomes of the replies. Break it by making new
// envelopes for each repeat in Service.appendOnce.
func TestLostRepliesDoNotRepeatOrLoseCommands(t *testing.T) {
	for name, fate := range map[string][]logtest.Loss{
		"kept":                  {logtest.LostKept},
		"not kept":              {logtest.LostDropped},
		"not kept, then kept":   {logtest.LostDropped, logtest.LostKept},
		"kept, and kept silent": {logtest.LostKept, logtest.LostDropped, logtest.LostKept},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLossy(t)
			l.loses(fate...)
			token, secret := l.generate()
			l.opens(secret, true)
			l.loses(fate...)
			_, err := l.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: pointer("new")})
			must(t, err)
			l.loses(fate...)
			l.deactivate(token.ID)
			l.opens(secret, false)
			l.loses(fate...)
			l.delete(token.ID)
			if n := len(l.records()); n != 5 {
				t.Errorf("%d records, want 5", n)
			}
			_, err = events.VerifyChain(t.Context(), l.Log, events.OrganizationStream("acme"))
			must(t, err)
		})
	}
}

// In the end the outcome may stay unknown. The caller is told, and the next command
// begins with what the log really holds. Break it by dropping maxRepeats from
// Service.appendOnce.
func TestOutcomeThatStaysUnknown(t *testing.T) {
	for name, kept := range map[string]bool{"kept": true, "not kept": false} {
		t.Run(name, func(t *testing.T) {
			l := newLossy(t)
			token, secret := l.generate()
			fate := logtest.LostDropped
			if kept {
				fate = logtest.LostKept
			}
			deactivate := func() error {
				return l.Service.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token.ID})
			}
			l.loses(always(fate)...)
			if err := deactivate(); !errors.Is(err, events.ErrUnknownOutcome) || l.appends < 2 || l.appends > 10 {
				t.Fatalf("error after %d tries: %v, want unknown", l.appends, err)
			}
			l.loses()
			if kept {
				l.refuses(oat.ErrInactive, deactivate)
			} else {
				must(t, deactivate())
			}
			// What happened unseen is made good by the next command at the latest.
			l.delete(token.ID)
			l.opens(secret, false)
			if n := len(l.records()); n != 4 {
				t.Errorf("%d records, want 4", n)
			}
		})
	}
}

// A Generate of unknown outcome returns no secret, and what it may have left can be
// found and deleted like any token.
func TestGenerateOfUnknownOutcome(t *testing.T) {
	l := newLossy(t)
	l.loses(always(logtest.LostKept)...)
	token, secret, err := l.Service.Generate(t.Context(), alice, wellFormed())
	if !errors.Is(err, events.ErrUnknownOutcome) || secret.Reveal() != "" || token.Label != "" {
		t.Errorf("%+v, %v, want nothing and an unknown outcome", token, err)
	}
	l.loses()
	generated := l.last().(*events.TokenGenerated)
	id, err := oat.ParseTokenID(generated.Token)
	must(t, err)
	l.delete(id)
}

// Another process comes in between a lost append and its repeat: the repeat is a
// conflict, and the command is decided on what is so now.
func TestLostReplyAndAnotherProcess(t *testing.T) {
	var log *tapped
	d := newDesk(t, tap(&log))
	token, _ := d.generate()
	other, err := oat.New(oat.Config{Log: log.Complete, Now: d.Clock.Now})
	must(t, err)
	first := true
	log.onAppend = func(context.Context, events.StreamID, []events.Envelope) error {
		if !first {
			return nil
		}
		first = false
		must(t, other.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token.ID}))
		return events.ErrUnknownOutcome
	}
	_, err = d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: pointer("late")})
	if !errors.Is(err, oat.ErrInactive) {
		t.Errorf("error %v, want that the token is inactive", err)
	}
}

// A repeat that fails otherwise, as on a full disk, tells nothing of the first try.
// Break it by returning its error as it is in Service.appendOnce.
func TestRepeatThatFailsLeavesTheOutcomeUnknown(t *testing.T) {
	var log *tapped
	d := newDesk(t, tap(&log))
	full := errors.New("disk is full")
	tries := 0
	log.onAppend = func(context.Context, events.StreamID, []events.Envelope) error {
		if tries++; tries == 1 {
			return events.ErrUnknownOutcome
		}
		return full
	}
	_, _, err := d.Service.Generate(t.Context(), alice, wellFormed())
	if !errors.Is(err, events.ErrUnknownOutcome) || !errors.Is(err, full) {
		t.Errorf("error %v, want an unknown outcome because the disk is full", err)
	}
	tries = 1
	if _, _, err := d.Service.Generate(t.Context(), alice, wellFormed()); errors.Is(err, events.ErrUnknownOutcome) || !errors.Is(err, full) {
		t.Errorf("error %v, want a full disk and nothing unknown", err)
	}
}

// A context that ends between two repeats ends the command, with the outcome unknown.
func TestContextThatEndsWhileTheOutcomeIsUnknown(t *testing.T) {
	var log *tapped
	d := newDesk(t, tap(&log))
	token, _ := d.generate()
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	log.onAppend = func(context.Context, events.StreamID, []events.Envelope) error {
		tries++
		cancel()
		return events.ErrUnknownOutcome
	}
	err := d.Service.Deactivate(ctx, alice, oat.Deactivate{Organization: "acme", Token: token.ID})
	if !errors.Is(err, events.ErrUnknownOutcome) || tries != 1 {
		t.Errorf("error after %d tries: %v, want an unknown outcome after one", tries, err)
	}
	log.onAppend = nil
	d.deactivate(token.ID)
}
