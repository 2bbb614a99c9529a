package oat_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
)

// A record that cannot be read stops every verifier and every projection, of all
// organizations and for good. Whatever the host computed, none is written. Break it by
// dropping the test of recordable in Generate.decide.
func TestExpiryThatCouldNotBeReadIsNotRecorded(t *testing.T) {
	d := newDesk(t)
	_, secret := d.generate()
	for name, at := range map[string]time.Time{
		"the year after the last": time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
		"the last, further west":  time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -2*3600)),
		"milliseconds as seconds": time.Unix(1_798_761_600_000, 0),
		"the end of time":         time.Unix(1<<62, 0),
	} {
		err := d.refuses(oat.ErrInvalid, func() error {
			_, _, err := d.Service.Generate(t.Context(), alice, wellFormed(func(cmd *oat.Generate) { cmd.Expires = oat.ExpiresAt(at) }))
			return err
		})
		t.Run(name, func(t *testing.T) { wantProblems(t, err, "expires_at") })
	}
	last := oat.ExpiresAt(time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC))
	d.generate(func(cmd *oat.Generate) { cmd.Expires = last })
	v := d.follower()
	must(t, v.Apply(t.Context(), d.records()))
	opens(t, v, secret, true)
}

// What time.Parse takes beside RFC 3339 would be recorded to the letter, for readers
// that do not take it. Break it by dropping loose from ParseExpiry.
func TestParseExpiryTakesNothingLoose(t *testing.T) {
	for _, text := range []string{
		"2027-01-31T1:00:00Z", "2027-01-31T1:00:00.5Z", "2027-01-31T01:00:00,5Z", "2027-01-31T01:00:00+24:00",
		"2027-01-31T01:00:00-24:00", "2027-01-31T01:00:00+24:60", "2027-01-31T01:00:00+02:60", "2027-01-31T01:00:00-00:60",
	} {
		if e, err := oat.ParseExpiry(text); err == nil || e != (oat.Expiry{}) {
			t.Errorf("%q: %v, %v, want it refused", text, e, err)
		}
	}
	for _, text := range []string{"2027-01-31T01:00:06Z", "2027-01-31T01:00:00.60Z", "2027-01-31T01:00:00+23:59", "2027-01-31T01:00:00-00:00"} {
		if _, err := oat.ParseExpiry(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A damaged log is not a mistake of the caller, who would be told to correct the
// command. Break it by wrapping with %w what is wrong with the record.
func TestDamagedIsNotInvalid(t *testing.T) {
	d := newDesk(t)
	d.write(acme, &events.TokenDeleted{Token: "not an id"})
	for _, command := range d.management(alice, "acme", uuid.New()) {
		if err := command.give(); !errors.Is(err, events.ErrDamaged) || errors.Is(err, oat.ErrInvalid) {
			t.Errorf("%s: %v, want a damaged log and nothing else", command.name, err)
		}
	}
	v := d.follower()
	must(t, v.Apply(t.Context(), d.records()))
	if err := v.Refold(t.Context(), acme, d.Log.ReadStream(t.Context(), acme, 0)); !errors.Is(err, events.ErrDamaged) || errors.Is(err, oat.ErrInvalid) {
		t.Errorf("verifier: %v, want a damaged log and nothing else", err)
	}
}
