package oattest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
	"github.com/oatmill/oatmill/quota"
)

func opens(t *testing.T, env *oattest.Env, organization string, secret oat.Secret, want bool) {
	t.Helper()
	_, err := env.Verifier.Verify(t.Context(), oat.Attempt{Organization: organization, Secret: secret})
	if want && err != nil || !want && err != oat.ErrRefused {
		t.Fatalf("verify: %v, want it to open: %t", err, want)
	}
}

// Tokens work as in production, and time passes when it is told to.
func TestEnv(t *testing.T) {
	env := oattest.New(t)
	token, secret := env.Generate("acme", oat.All("acme", oat.Read))
	opens(t, env, "acme", secret, true)
	opens(t, env, "other", secret, false)

	alice := oat.Actor{User: oattest.Owner}
	_, lasting, err := env.Service.Generate(t.Context(), alice, oat.Generate{
		Organization: "acme", Label: "ci", Expires: oat.ExpiresAt(env.Clock.Now().Add(time.Hour)), Resources: []oat.Resource{oat.Public()},
	})
	if err != nil {
		t.Fatal(err)
	}
	env.Clock.Advance(time.Hour - time.Microsecond)
	opens(t, env, "acme", lasting, true)
	env.Clock.Advance(time.Microsecond)
	opens(t, env, "acme", lasting, false)
	opens(t, env, "acme", secret, true)

	if err := env.Service.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token.ID}); err != nil {
		t.Fatal(err)
	}
	opens(t, env, "acme", secret, false)
}

// Every run sees the same secrets, and no two tokens of a run have one secret.
func TestRandomnessRepeats(t *testing.T) {
	_, one := oattest.New(t).Generate("acme", oat.Public())
	env := oattest.New(t)
	_, two := env.Generate("acme", oat.Public())
	_, three := env.Generate("acme", oat.Public())
	if one.Reveal() != two.Reveal() || two.Reveal() == three.Reveal() {
		t.Error("want the first secrets of two environments alike, and the second another")
	}
}

// An environment may be made with plans and owners of the host's, and with the log of an
// earlier one, as after a restart.
func TestOptions(t *testing.T) {
	nobody := owners(func(organization, user string) bool { return false })
	first := oattest.New(t, func(cfg *oat.Config) { cfg.Owners = nobody })
	_, secret := first.Generate("acme", oat.Public())
	opens(t, first, "acme", secret, true)

	plans := quota.Plans{"starter": {Tokens: 1}}
	second := oattest.New(t, func(cfg *oat.Config) { cfg.Plans, cfg.Rand = plans, oattest.NewRand(2) })
	host := oat.Actor{Host: "billing"}
	if err := second.Service.Register(t.Context(), host, oat.Register{Organization: "acme", Plan: "starter", Owners: []string{"alice"}}); err != nil {
		t.Fatal(err)
	}
	_, secret = second.Generate("acme", oat.Public())
	opens(t, second, "acme", secret, true)

	restarted := oattest.New(t, func(cfg *oat.Config) { cfg.Plans, cfg.Log, cfg.Rand = plans, second.Log, oattest.NewRand(3) })
	opens(t, restarted, "acme", secret, true)
	_, _, err := restarted.Service.Generate(t.Context(), host, oat.Generate{
		Organization: "acme", Label: "one too many", Expires: oat.Never(), Resources: []oat.Resource{oat.Public()},
	})
	if !errors.Is(err, quota.ErrExceeded) {
		t.Errorf("second token of a plan with one: %v", err)
	}
}

type owners func(organization, user string) bool

func (o owners) IsOwner(_ context.Context, organization, user string) (bool, error) {
	return o(organization, user), nil
}
