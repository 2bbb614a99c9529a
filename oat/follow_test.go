package oat_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// write appends a payload to a stream behind the back of every service, as an older or
// newer library, or somebody with access to the database, might.
func (d *desk) write(stream events.StreamID, p events.Payload) {
	d.t.Helper()
	envelope, err := events.NewEnvelope(ulid.MustNewDefault(time.Now()), d.Clock.Now(), "host:somebody", p)
	must(d.t, err)
	d.append(stream, envelope)
}

func (d *desk) append(stream events.StreamID, envelope events.Envelope) {
	d.t.Helper()
	_, err := d.Log.Append(d.t.Context(), stream, events.Any, envelope)
	must(d.t, err)
}

// follower is the verifier of another process, which knows what it is fed.
func (d *desk) follower() *oat.Verifier {
	v := oat.NewVerifier(oat.VerifierConfig{Now: d.Clock.Now})
	v.Confirm(d.Clock.Now())
	return v
}

// What the log brings late does not undo what the process did itself. Break it by
// taking out the case r.Version <= t.version in Verifier.fold.
func TestOlderRecordNeverOverwritesANewer(t *testing.T) {
	d := newDesk(t)
	token, secret := d.generate(func(cmd *oat.Generate) { cmd.Resources = []oat.Resource{oat.All("acme", oat.ReadWrite)} })
	_, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Resources: many(1)})
	must(t, err)
	records := d.records()
	for _, r := range records {
		must(t, d.Verifier.Apply(t.Context(), []events.Recorded{r}))
		if d.opens(secret, true).Allows(oat.Push, "acme/api", oat.VisibilityUnknown) {
			t.Fatalf("the record of version %d widened the token again", r.Version)
		}
	}
	d.deactivate(token.ID)
	must(t, d.Verifier.Apply(t.Context(), d.records()))
	d.opens(secret, false)
	d.delete(token.ID)
	must(t, d.Verifier.Apply(t.Context(), d.records()))
	if n := d.Verifier.Status().Credentials; n != 0 {
		t.Errorf("%d credentials, want none", n)
	}
}

// A command of this process makes the verifier catch up with what other processes did
// to the organization before it.
func TestCommandBringsWhatOthersDidBefore(t *testing.T) {
	d := newDesk(t)
	other := d.second()
	token, secret := d.generate()
	must(t, other.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token.ID}))
	_, theirs, err := other.Generate(t.Context(), alice, wellFormed())
	must(t, err)
	d.opens(secret, true) // this process was not told yet
	d.opens(theirs, false)
	_, ours := d.generate()
	d.opens(secret, false)
	d.opens(theirs, true)
	d.opens(ours, true)
}

// If the verifier cannot catch up, nothing of the organization opens until it was fed
// what it missed; other organizations are not affected. Break it by dropping the
// comparison with t.required in Verifier.reopen.
func TestOrganizationStaysShutUntilFollowed(t *testing.T) {
	var log *tapped
	d := newDesk(t, tap(&log))
	d.register("other", quota.Team)
	_, others, err := d.Service.Generate(t.Context(), alice, oat.Generate{
		Organization: "other", Label: "ci", Expires: oat.Never(), Resources: []oat.Resource{oat.Public()},
	})
	must(t, err)
	stolen, secret := d.generate()
	_, kept := d.generate()
	second := d.second()
	must(t, second.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: stolen.ID}))

	// The next command is appended, and then nothing can be read any more.
	log.appended = func() {
		log.onRead = func(*events.Recorded) error { return errors.New("disk is broken") }
	}
	must(t, d.Service.AddOwner(t.Context(), alice, oat.AddOwner{Organization: "acme", Owner: "bob"}))
	log.appended, log.onRead = nil, nil
	d.opens(secret, false)
	d.opens(kept, false)
	if _, err := d.Verifier.Verify(t.Context(), oat.Attempt{Organization: "other", Secret: others}); err != nil {
		t.Errorf("another organization: %v", err)
	}

	// It takes all that was missed, not a part of it.
	records := d.records()
	must(t, d.Verifier.Apply(t.Context(), records[:len(records)-1]))
	d.opens(kept, false)
	must(t, d.Verifier.Apply(t.Context(), records))
	d.opens(secret, false)
	d.opens(kept, true)
}

// An event this library does not know stops the verifier before it, for good: it could
// be there to close something. Break it by returning nil for events.ErrUnknownType in
// Verifier.fold.
func TestUnknownEventStopsTheVerifier(t *testing.T) {
	d := newDesk(t)
	_, before := d.generate()
	d.append(acme, events.Envelope{
		ID: ulid.MustNewDefault(time.Now()), Type: "token.frozen.v1", Time: d.Clock.Now(), Actor: "host:newer", Data: []byte(`{}`),
	})
	d.register("other", quota.Team)
	records := d.records()
	v := d.follower()
	for range 2 {
		err := v.Apply(t.Context(), records)
		var unknown *events.UnknownTypeError
		if !errors.As(err, &unknown) {
			t.Fatalf("error %v, want an unknown type", err)
		}
		want := events.UnknownTypeError{Type: "token.frozen.v1", Stream: acme, Position: records[2].Position}
		if diff := cmp.Diff(want, *unknown); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if v.Position() != records[1].Position {
			t.Errorf("position %d, want %d, that of the record before", v.Position(), records[1].Position)
		}
	}
	opens(t, v, before, true) // what came before it was taken in

	// The service does not decide on what it does not understand, either.
	for _, command := range d.management(alice, "acme", uuid.New()) {
		d.refuses(events.ErrUnknownType, command.give)
	}
}

// Streams of other kinds are a host's own affair.
func TestOtherStreamsAreNotRead(t *testing.T) {
	d := newDesk(t)
	_, secret := d.generate()
	for _, stream := range []events.StreamID{"invoice/acme", "usage/acme"} {
		d.append(stream, events.Envelope{
			ID: ulid.MustNewDefault(time.Now()), Type: "invoice.sent.v7", Time: d.Clock.Now(), Data: []byte(`{"total":1}`),
		})
	}
	records := d.records()
	v := d.follower()
	must(t, v.Apply(t.Context(), records))
	opens(t, v, secret, true)
	if v.Position() != records[len(records)-1].Position || v.Status().Organizations != 1 {
		t.Errorf("%+v", v.Status())
	}
}

// Records that cannot be true close their organization, and no other. Fails if follow
// ignores an error of foldRecord.
func TestDamagedRecordsCloseTheOrganization(t *testing.T) {
	nowhere := uuid.NewString()
	for name, damage := range map[string]func(d *desk, token oat.Token) events.Payload{
		"edit of nothing":         func(*desk, oat.Token) events.Payload { return &events.TokenEdited{Token: nowhere, Resources: many(1)} },
		"deactivation of nothing": func(*desk, oat.Token) events.Payload { return &events.TokenDeactivated{Token: nowhere} },
		"deletion of nothing":     func(*desk, oat.Token) events.Payload { return &events.TokenDeleted{Token: nowhere} },
		"an id that is none":      func(*desk, oat.Token) events.Payload { return &events.TokenDeleted{Token: "x"} },
		"the id of no token":      func(*desk, oat.Token) events.Payload { return &events.TokenDeleted{Token: uuid.Nil.String()} },
		"a token twice":           func(_ *desk, token oat.Token) events.Payload { return &events.TokenGenerated{Token: token.ID.String()} },
		"a new token without id":  func(*desk, oat.Token) events.Payload { return &events.TokenGenerated{Token: "ABC"} },
		"an expiry that is none": func(*desk, oat.Token) events.Payload {
			return &events.TokenGenerated{Token: nowhere, ExpiresAt: "soon"}
		},
		"another's token deleted": func(d *desk, _ oat.Token) events.Payload { return &events.TokenDeleted{Token: d.foreign()} },
		"another's token widened": func(d *desk, _ oat.Token) events.Payload {
			return &events.TokenEdited{Token: d.foreign(), Resources: many(1)}
		},
		"another's secret adopted": func(d *desk, _ oat.Token) events.Payload { return d.adopted() },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.register("other", quota.Team)
			token, secret := d.generate()
			others := d.generateOther()
			d.write(acme, damage(d, token))
			records := d.records()
			v := d.follower()
			must(t, v.Apply(t.Context(), records))
			if want := records[len(records)-1].Position; v.Position() != want {
				t.Errorf("position %d, want %d", v.Position(), want)
			}
			opens(t, v, secret, false)
			if _, err := v.Verify(t.Context(), oat.Attempt{Organization: "other", Secret: others}); err != nil {
				t.Errorf("another organization: %v", err)
			}
			if closed := v.Status().Closed; len(closed) != 1 || closed[0].Organization != "acme" || !strings.Contains(closed[0].Problem, "organization/acme") {
				t.Errorf("closed: %+v", closed)
			}
			if err := v.Refold(t.Context(), acme, d.Log.ReadStream(t.Context(), acme, 0)); !errors.Is(err, events.ErrDamaged) {
				t.Errorf("folded again: %v, want a damaged log", err)
			}
			opens(t, v, secret, false)
		})
	}
}

// foreign is the id of a token of organization other.
func (d *desk) foreign() string {
	d.t.Helper()
	token, _, err := d.Service.Generate(d.t.Context(), alice, wellFormed(func(cmd *oat.Generate) {
		cmd.Organization, cmd.Resources = "other", []oat.Resource{oat.Public()}
	}))
	must(d.t, err)
	return token.ID.String()
}

// adopted is a new token with the digest of an existing one of organization other.
func (d *desk) adopted() events.Payload {
	d.t.Helper()
	d.foreign()
	generated := *d.last().(*events.TokenGenerated)
	generated.Token = uuid.NewString()
	return &generated
}

// generateOther makes a token of organization other and returns its secret.
func (d *desk) generateOther() oat.Secret {
	d.t.Helper()
	_, secret, err := d.Service.Generate(d.t.Context(), alice, oat.Generate{
		Organization: "other", Label: "ci", Expires: oat.Never(), Resources: []oat.Resource{oat.Public()},
	})
	must(d.t, err)
	return secret
}

// A hole in a stream closes the organization until its stream was read again.
func TestHoleClosesTheOrganization(t *testing.T) {
	d := newDesk(t)
	token, secret := d.generate()
	d.deactivate(token.ID)
	_, late := d.generate()
	all := d.records()
	v := d.follower()
	must(t, v.Apply(t.Context(), slices.Delete(slices.Clone(all), 2, 3))) // without the deactivation
	opens(t, v, secret, false)
	opens(t, v, late, false)
	must(t, v.Refold(t.Context(), acme, d.Log.ReadStream(t.Context(), acme, 0)))
	opens(t, v, secret, false)
	opens(t, v, late, true)
}

// Batches of any size, also empty ones and such that were there before.
func TestApplySkipsWhatItKnows(t *testing.T) {
	d := newDesk(t)
	must(t, life(t.Context(), d.Service, "example", alice))
	_, secret := d.generate()
	records := d.records()
	for size := 1; size <= len(records); size++ {
		v := d.follower()
		must(t, v.Apply(t.Context(), nil))
		for from := 0; from < len(records); from += size {
			overlap := max(0, from-2)
			must(t, v.Apply(t.Context(), records[overlap:min(from+size, len(records))]))
		}
		must(t, v.Apply(t.Context(), records[:1]))
		if v.Position() != records[len(records)-1].Position || v.Status().Credentials != 1 {
			t.Errorf("in batches of %d: %+v", size, v.Status())
		}
		opens(t, v, secret, true)
	}
}

func TestApplyEndsWithTheContext(t *testing.T) {
	d := newDesk(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v := d.follower()
	if err := v.Apply(ctx, d.records()); !errors.Is(err, context.Canceled) || v.Position() != 0 {
		t.Errorf("%v at position %d, want context.Canceled at 0", err, v.Position())
	}
}

// Two verifiers of one log agree, the one told by its service and the one fed.
func TestTwoVerifiersAgree(t *testing.T) {
	d := newDesk(t)
	v := d.follower()
	var secrets []oat.Secret
	var tokens []oat.Token
	for i := range 8 {
		token, secret := d.generate(d.lasting(time.Duration(i+1) * time.Minute))
		tokens, secrets = append(tokens, token), append(secrets, secret)
		if i%3 == 1 {
			d.deactivate(tokens[i].ID)
		}
		if i%4 == 2 {
			d.delete(tokens[i-1].ID)
		}
		d.Clock.Advance(45 * time.Second)
		must(t, v.Apply(t.Context(), d.records()))
		v.Confirm(d.Clock.Now())
		for j, secret := range secrets {
			a := oat.Attempt{Organization: "acme", Secret: secret}
			_, one := d.Verifier.Verify(t.Context(), a)
			_, two := v.Verify(t.Context(), a)
			_, three := d.Verifier.Recheck(t.Context(), oat.Recheck{Organization: "acme", Token: tokens[j].ID})
			_, four := v.Recheck(t.Context(), oat.Recheck{Organization: "acme", Token: tokens[j].ID})
			if got := fmt.Sprint(two, three, four); got != fmt.Sprint(one, one, one) {
				t.Errorf("token %d after %d: %v, and %s elsewhere", j, i, one, got)
			}
		}
	}
}
