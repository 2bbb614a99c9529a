package oat_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/quota"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for name, cfg := range map[string]oat.Config{
		"Log":                   {},
		"Prefix of bad letters": {Log: memlog.New(), Prefix: "oat "},
		"Prefix with a dot":     {Log: memlog.New(), Prefix: "oat."},
		"Prefix with an umlaut": {Log: memlog.New(), Prefix: "öat_"},
		"Prefix too long":       {Log: memlog.New(), Prefix: strings.Repeat("p", 21)},
	} {
		field, _, _ := strings.Cut(name, " ")
		if s, err := oat.New(cfg); s != nil || err == nil || !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("%s: %v, want an error that names the field", name, err)
		}
	}
}

// Only Log is required.
func TestZeroConfigWorks(t *testing.T) {
	s, err := oat.New(oat.Config{Log: memlog.New()})
	must(t, err)
	must(t, life(t.Context(), s, "acme", alice))
}

func TestPrefix(t *testing.T) {
	for _, prefix := range []string{"oat_", "a", "-", "ACME-prod_1_", strings.Repeat("p", 20)} {
		d := newDesk(t, func(cfg *oat.Config) { cfg.Prefix = prefix })
		_, secret := d.generate()
		if random, ok := strings.CutPrefix(secret.Reveal(), prefix); !ok || len(random) != 32 {
			t.Errorf("secret has %d characters behind the prefix: %t", len(random), ok)
		}
		d.opens(secret, true)
	}
}

// The same randomness gives the same secret, and other randomness another one.
func TestFixedRandomnessGivesTheSameSecret(t *testing.T) {
	generate := func(seed byte) (oat.Token, oat.Secret) {
		return newDesk(t, func(cfg *oat.Config) { cfg.Rand = oattest.NewRand(seed) }).generate()
	}
	token, secret := generate(1)
	again, sameSecret := generate(1)
	other, otherSecret := generate(2)
	if diff := cmp.Diff(token, again, sameToken()); diff != "" || secret.Reveal() != sameSecret.Reveal() {
		t.Errorf("the same randomness gave another token (-first +second):\n%s", diff)
	}
	if token.ID == other.ID || secret.Reveal() == otherSecret.Reveal() {
		t.Error("other randomness gave the same token")
	}
}

// Without randomness nothing is generated, and nothing is recorded: neither with half
// an id nor with half a secret, although there is some again later. Break it by ignoring
// the error of io.ReadFull in generateSecret.
func TestRandomnessThatFails(t *testing.T) {
	dry := errors.New("no randomness")
	for enough := range 16 + 52 + 10 { // an id, a secret, an event's id
		d := newDesk(t)
		s, err := oat.New(oat.Config{
			Log: d.Log, Now: d.Clock.Now,
			Rand: &hiccup{after: enough, err: dry},
		})
		must(t, err)
		err = d.refuses(dry, func() error {
			token, secret, err := s.Generate(t.Context(), alice, wellFormed())
			if secret.Reveal() != "" || token.Label != "" {
				t.Errorf("after %d bytes: %+v", enough, token)
			}
			return err
		})
		if !errors.Is(err, dry) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes: %v, want %v", enough, err, dry)
		}
	}
}

// hiccup is randomness that fails once, after so many bytes.
type hiccup struct {
	counting
	after int
	err   error
}

func (h *hiccup) Read(p []byte) (int, error) {
	if h.after == 0 {
		h.after = -1
		return 0, h.err
	}
	if h.after > 0 {
		p = p[:min(len(p), h.after)]
		h.after -= len(p)
	}
	return h.counting.Read(p)
}

// What is not kept in memory is read again, and decides no other than what is. Break
// it by letting no entry go in cache.entry.
func TestOrganizationsThatDoNotFitTheCache(t *testing.T) {
	var log *tapped
	d := newDesk(t, tap(&log), func(cfg *oat.Config) { cfg.CacheSize = 1 })
	reads := 0
	log.onRead = func(r *events.Recorded) error {
		if r == nil {
			reads++
		}
		return nil
	}
	d.register("other", quota.Team)
	token, secret := d.generate()
	for i := range 3 {
		must(t, d.Service.AddOwner(t.Context(), alice, oat.AddOwner{Organization: "other", Owner: fmt.Sprint(i)}))
		_, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: pointer(fmt.Sprint(i))})
		must(t, err)
	}
	if reads != 8 {
		t.Errorf("organizations were read %d times, want each time they took turns, 8", reads)
	}
	reads = 0
	for i := range 3 {
		_, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID, Label: pointer(fmt.Sprint(9 - i))})
		must(t, err)
	}
	if reads != 0 {
		t.Errorf("an organization in memory was read %d times", reads)
	}
	d.opens(secret, true)
}

// TestInventedNamesPushNothingOut fails when cache.entry makes room before it is known
// whether there is such an organization.
func TestInventedNamesPushNothingOut(t *testing.T) {
	var log *tapped
	d := newDesk(t, tap(&log), func(cfg *oat.Config) { cfg.CacheSize = 1 })
	token, _ := d.generate()
	log.onRead = func(r *events.Recorded) error {
		if r != nil {
			t.Errorf("version %d of %s was read again", r.Version, r.Stream)
		}
		return nil
	}
	for i := range 3 {
		err := d.Service.ChangePlan(t.Context(), alice, oat.ChangePlan{Organization: fmt.Sprint("nobody-", i), Plan: quota.Team})
		if !errors.Is(err, oat.ErrOrganizationNotFound) {
			t.Fatal(err)
		}
	}
	must(t, d.Service.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token.ID}))
}

// A stream that cannot be read, or holds what nobody understands, stops commands.
func TestOrganizationThatCannotBeRead(t *testing.T) {
	var log *tapped
	d := newDesk(t, tap(&log), func(cfg *oat.Config) { cfg.CacheSize = 1 })
	token, _ := d.generate()
	broken := errors.New("disk is broken")
	for _, fails := range []func(*events.Recorded) error{
		func(*events.Recorded) error { return broken },
		func(r *events.Recorded) error {
			if r == nil {
				return nil
			}
			return broken
		},
	} {
		d.register("x"+fmt.Sprint(len(d.records())), quota.Team) // takes acme's place in memory
		log.onRead = fails
		for _, command := range d.management(alice, "acme", token.ID) {
			if err := d.refuses(broken, command.give); !errors.Is(err, broken) {
				t.Errorf("%s: %v, want the log's error", command.name, err)
			}
		}
		log.onRead = nil
		_, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token.ID})
		must(t, err)
	}
}
