package oat_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/quota"
)

// gate is a desk whose verifier logs, with one token in every state a token can have.
type gate struct {
	*desk
	log *bytes.Buffer

	active, inactive, expired, deleted, planless, elsewhere credentials
}

type credentials struct {
	oat.Token
	oat.Secret
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := new(gate)
	g.desk = newDesk(t, func(cfg *oat.Config) {
		var logger *slog.Logger
		logger, g.log = logged()
		cfg.Verifier = oat.NewVerifier(oat.VerifierConfig{Now: cfg.Now, Logger: logger})
	})
	g.register("example", quota.Team)
	g.register("planless", quota.Team)
	of := func(organization string, changes ...func(*oat.Generate)) credentials {
		token, secret := g.generate(append(changes, func(cmd *oat.Generate) {
			cmd.Organization, cmd.Resources = organization, []oat.Resource{oat.Public()}
		})...)
		return credentials{token, secret}
	}
	g.active, g.inactive, g.deleted = of("acme"), of("acme"), of("acme")
	g.expired = of("acme", g.lasting(time.Minute))
	g.elsewhere, g.planless = of("example"), of("planless")
	g.deactivate(g.inactive.ID)
	g.delete(g.deleted.ID)
	must(t, g.Service.ChangePlan(t.Context(), alice, oat.ChangePlan{Organization: "planless"}))
	g.Clock.Advance(time.Minute)
	return g
}

// Whatever is wrong, the answer is one and the same value; only the log says more.
// Break it by returning fmt.Errorf("%w: %s", ErrRefused, cause) from Verify.
func TestEveryCauseIsRefusedAlike(t *testing.T) {
	g := newGate(t)
	made := func(text string) oat.Secret { return oat.NewSecret(text) }
	unknown := newDesk(t, func(cfg *oat.Config) { cfg.Rand = oattest.NewRand(7) })
	_, stranger := unknown.generate()
	text := g.active.Reveal()
	for name, test := range map[string]struct {
		attempt oat.Attempt
		cause   string
	}{
		"no secret":              {oat.Attempt{Organization: "acme"}, "malformed"},
		"an empty secret":        {oat.Attempt{Organization: "acme", Secret: made("")}, "malformed"},
		"a password":             {oat.Attempt{Organization: "acme", Secret: made("correct horse battery staple")}, "malformed"},
		"a wrong last letter":    {oat.Attempt{Organization: "acme", Secret: made(flipped(text, len(text)-1))}, "malformed"},
		"a wrong middle letter":  {oat.Attempt{Organization: "acme", Secret: made(flipped(text, len(text)/2))}, "malformed"},
		"another prefix":         {oat.Attempt{Organization: "acme", Secret: made("dckr_" + strings.TrimPrefix(text, "oat_"))}, "unknown"},
		"no prefix":              {oat.Attempt{Organization: "acme", Secret: made(strings.TrimPrefix(text, "oat_"))}, "unknown"},
		"a blank behind":         {oat.Attempt{Organization: "acme", Secret: made(text + " ")}, "malformed"},
		"never generated":        {oat.Attempt{Organization: "acme", Secret: stranger}, "unknown"},
		"deleted":                {oat.Attempt{Organization: "acme", Secret: g.deleted.Secret}, "unknown"},
		"inactive":               {oat.Attempt{Organization: "acme", Secret: g.inactive.Secret}, "inactive"},
		"expired":                {oat.Attempt{Organization: "acme", Secret: g.expired.Secret}, "expired"},
		"no plan":                {oat.Attempt{Organization: "planless", Secret: g.planless.Secret}, "plan"},
		"another organization":   {oat.Attempt{Organization: "example", Secret: g.active.Secret}, "organization"},
		"the other way round":    {oat.Attempt{Organization: "acme", Secret: g.elsewhere.Secret}, "organization"},
		"no organization":        {oat.Attempt{Secret: g.active.Secret}, "organization"},
		"unknown organization":   {oat.Attempt{Organization: "nobody", Secret: g.active.Secret}, "organization"},
		"organization's case":    {oat.Attempt{Organization: "ACME", Secret: g.active.Secret}, "organization"},
		"an owner's name":        {oat.Attempt{Organization: "alice", Secret: g.active.Secret}, "organization"},
		"a repository":           {oat.Attempt{Organization: "acme/api", Secret: g.active.Secret}, "organization"},
		"wrong in several ways":  {oat.Attempt{Organization: "nobody", Secret: g.inactive.Secret}, "organization"},
		"inactive and of others": {oat.Attempt{Organization: "example", Secret: g.inactive.Secret}, "organization"},
	} {
		t.Run(name, func(t *testing.T) {
			g.log.Reset()
			grant, err := g.Verifier.Verify(t.Context(), test.attempt)
			g.Verifier.FlushLog()
			if err != oat.ErrRefused || grant != (oat.Grant{}) {
				t.Errorf("%v, %v, want a zero grant and exactly ErrRefused", grant, err)
			}
			if line := g.log.String(); !strings.Contains(line, "cause="+test.cause+" ") || strings.Count(line, "\n") != 1 {
				t.Errorf("logged %q, want the cause %s", line, test.cause)
			}
		})
	}
	g.log.Reset()
	grant := g.opens(g.active.Secret, true)
	if grant.Organization() != "acme" || grant.Token() != g.active.ID || grant.Plan() != quota.Team || g.log.Len() > 0 {
		t.Errorf("grant of %s, %s on %s; logged %q", grant.Organization(), grant.Token(), grant.Plan(), g.log)
	}
}

// flipped is s with another letter of the alphabet at i.
func flipped(s string, i int) string {
	c := byte('x')
	if s[i] == c {
		c = 'y'
	}
	return s[:i] + string(c) + s[i+1:]
}

// Garbage costs no lookup, and says nothing of the verifier's state. Break it by
// moving the check of the form behind the check of staleness in Verify.
func TestGarbageIsRefusedBeforeAnythingElse(t *testing.T) {
	d := newDesk(t)
	_, secret := d.generate()
	v := oat.NewVerifier(oat.VerifierConfig{Now: d.Clock.Now})
	for _, text := range []string{"", "x", "password", strings.Repeat("oat_", 20), secret.Reveal()[1:] + "0", strings.Repeat("x", 1<<20)} {
		if _, err := v.Verify(t.Context(), oat.Attempt{Organization: "acme", Secret: oat.NewSecret(text)}); err != oat.ErrRefused {
			t.Errorf("garbage of %d bytes: %v, want ErrRefused", len(text), err)
		}
	}
	if _, err := v.Verify(t.Context(), oat.Attempt{Organization: "acme", Secret: secret}); err != oat.ErrStale {
		t.Errorf("a secret: %v, want ErrStale", err)
	}
}

// A grant that was kept is asked for anew, by id. Break it by leaving any case out of
// credential.refuses.
func TestRecheck(t *testing.T) {
	g := newGate(t)
	for name, test := range map[string]struct {
		organization string
		token        uuid.UUID
		cause        string // "" when it opens
	}{
		"active":               {"acme", g.active.ID, ""},
		"elsewhere":            {"example", g.elsewhere.ID, ""},
		"inactive":             {"acme", g.inactive.ID, "inactive"},
		"expired":              {"acme", g.expired.ID, "expired"},
		"deleted":              {"acme", g.deleted.ID, "unknown"},
		"never generated":      {"acme", uuid.New(), "unknown"},
		"no id":                {"acme", uuid.Nil, "unknown"},
		"no plan":              {"planless", g.planless.ID, "plan"},
		"another organization": {"example", g.active.ID, "organization"},
		"no organization":      {"", g.active.ID, "organization"},
	} {
		t.Run(name, func(t *testing.T) {
			g.log.Reset()
			grant, err := g.Verifier.Recheck(t.Context(), oat.Recheck{Organization: test.organization, Token: test.token, Address: "192.0.2.7", UserAgent: "docker/29"})
			g.Verifier.FlushLog()
			if test.cause == "" {
				if err != nil || grant.Organization() != test.organization || grant.Token() != test.token || g.log.Len() > 0 {
					t.Errorf("%v, %v; logged %q", grant, err, g.log)
				}
				return
			}
			if err != oat.ErrRefused || grant != (oat.Grant{}) {
				t.Errorf("%v, %v, want a zero grant and exactly ErrRefused", grant, err)
			}
			if line := g.log.String(); !strings.Contains(line, "cause="+test.cause+" ") || !strings.Contains(line, "address=192.0.2.7 user_agent=docker/29") {
				t.Errorf("logged %q, want the cause %s and where from", line, test.cause)
			}
		})
	}
	stale := oat.NewVerifier(oat.VerifierConfig{Now: g.Clock.Now})
	if _, err := stale.Recheck(t.Context(), oat.Recheck{Organization: "acme", Token: g.active.ID}); err != oat.ErrStale {
		t.Errorf("%v, want ErrStale", err)
	}
}

// Owners see the refusals of Recheck as those of Verify. What still opens was recorded by Verify.
//
// Fails if Recheck records nothing, or records what opens.
func TestRefusedRecheckIsRecorded(t *testing.T) {
	g := newGate(t)
	log := memlog.New()
	recorder, err := oat.NewRecorder(oat.RecorderConfig{Log: log, Interval: time.Hour, Now: g.Clock.Now})
	must(t, err)
	v := oat.NewVerifier(oat.VerifierConfig{Now: g.Clock.Now, Recorder: recorder})
	must(t, v.Apply(t.Context(), g.records()))
	v.Confirm(g.Clock.Now())
	for _, token := range []uuid.UUID{g.active.ID, g.inactive.ID, g.expired.ID, g.deleted.ID, g.elsewhere.ID, uuid.New()} {
		_, _ = v.Recheck(t.Context(), oat.Recheck{Organization: "acme", Token: token, Address: "192.0.2.7", UserAgent: "docker/29"})
	}
	must(t, recorder.Close(t.Context()))
	recorded := map[uuid.UUID]events.Use{}
	for r, err := range log.ReadAll(t.Context(), 0) {
		must(t, err)
		payload, err := r.Payload()
		must(t, err)
		for _, use := range payload.(*events.UsageRecorded).Uses {
			recorded[uuid.MustParse(use.Token)] = use
		}
	}
	for token, cause := range map[uuid.UUID]string{g.inactive.ID: "inactive", g.expired.ID: "expired", g.elsewhere.ID: "organization"} {
		if use := recorded[token]; use.Accepted != nil || use.Refused == nil || use.Refused.Cause != cause || use.Refused.Address != "192.0.2.7" || use.Refused.UserAgent != "docker/29" || use.Refused.Count != 1 {
			t.Errorf("recorded is %+v with %+v, want one refusal because of %s", use, use.Refused, cause)
		}
	}
	if len(recorded) != 3 {
		t.Errorf("recorded are uses of %d tokens, want 3", len(recorded))
	}
}

// Expiry holds at the very instant, to the nanosecond of the verifier's clock.
func TestTokenStopsAtTheInstantItExpires(t *testing.T) {
	d := newDesk(t)
	at := d.Clock.Now().Add(time.Hour)
	_, secret := d.generate(func(cmd *oat.Generate) { cmd.Expires = oat.ExpiresAt(at) })
	_, early := d.generate(func(cmd *oat.Generate) { cmd.Expires = parsed(t, "2026-01-01T00:59:59.999999999Z") })
	for _, test := range []struct {
		after              time.Duration
		opens, earlierOpen bool
	}{
		{-2, true, true}, {-1, true, false}, {0, false, false}, {1, false, false}, {-1, true, false}, {24 * time.Hour, false, false},
	} {
		d.Clock.Advance(at.Add(test.after).Sub(d.Clock.Now()))
		d.opens(secret, test.opens)
		d.opens(early, test.earlierOpen)
	}
}

// Instants that do not fit a count of nanoseconds are instants all the same. Break it
// by returning e.at.UnixNano() from Expiry.nanoseconds in every case.
func TestExpiryFarAway(t *testing.T) {
	d := newDesk(t)
	for _, text := range []string{"2262-04-11T23:47:16.854775807Z", "2262-04-11T23:47:17Z", "2500-01-01T00:00:00Z", "9999-12-31T23:59:59Z"} {
		_, secret := d.generate(func(cmd *oat.Generate) { cmd.Expires = parsed(t, text) })
		d.opens(secret, true)
	}
}

// The services of Docker's page are named as such, also to those whose secret would
// open, and also to those who have none.
func TestServicesThatTokensAreNotFor(t *testing.T) {
	g := newGate(t)
	for _, service := range append(oat.DockerServices(), "Docker-Desktop", "DOCKER-SCOUT") {
		for _, secret := range []oat.Secret{g.active.Secret, g.inactive.Secret, oat.NewSecret("x"), {}} {
			_, err := g.Verifier.Verify(t.Context(), oat.Attempt{Organization: "acme", Secret: secret, Service: service})
			if err != oat.ErrUnsupportedService || !errors.Is(err, oat.ErrRefused) || !strings.Contains(err.Error(), "personal access token") {
				t.Errorf("%s: %v, want that it cannot be used there", service, err)
			}
		}
	}
	for _, service := range []string{"", "registry.example.com", "docker-desktop2"} {
		if _, err := g.Verifier.Verify(t.Context(), oat.Attempt{Organization: "acme", Secret: g.active.Secret, Service: service}); err != nil {
			t.Errorf("%q: %v", service, err)
		}
	}
}

func TestServicesOfTheHost(t *testing.T) {
	g := newGate(t)
	for _, test := range []struct {
		services []string
		refused  []string
		accepted []string
	}{
		{nil, []string{"docker-scout"}, []string{"build"}},
		{[]string{}, nil, []string{"docker-scout", "build"}},
		{[]string{"Build"}, []string{"build", "BUILD"}, []string{"docker-scout"}},
	} {
		v := oat.NewVerifier(oat.VerifierConfig{Now: g.Clock.Now, UnsupportedServices: test.services})
		must(t, v.Apply(t.Context(), g.records()))
		v.Confirm(g.Clock.Now())
		for _, service := range append(test.refused, test.accepted...) {
			_, err := v.Verify(t.Context(), oat.Attempt{Organization: "acme", Secret: g.active.Secret, Service: service})
			if want := len(test.refused) > 0 && strings.EqualFold(service, test.refused[0]); (err == oat.ErrUnsupportedService) != want || !want && err != nil {
				t.Errorf("with %q, %s: %v", test.services, service, err)
			}
		}
	}
}

// A secret in the place of the user name, as whoever mixes up the two fields sends it,
// is not logged. Break it by logging a.Organization as it is.
func TestSecretAsUserNameIsNotLogged(t *testing.T) {
	g := newGate(t)
	text := g.active.Reveal()
	for _, attempt := range []oat.Attempt{
		{Organization: text, Secret: oat.NewSecret("acme")},
		{Organization: text, Secret: g.active.Secret},
		{Organization: text + "\n", Secret: g.active.Secret},
		{Organization: "acme:" + text},
	} {
		if _, err := g.Verifier.Verify(t.Context(), attempt); err != oat.ErrRefused {
			t.Errorf("%v", err)
		}
	}
	if strings.Contains(g.log.String(), text[8:16]) {
		t.Errorf("logged a secret: %s", g.log)
	}
}
