package oat_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// Verifying goes on while tokens come and go. A token that nobody touches opens at
// every moment, also while the tables grow; one that was ended never opens again, not
// for an instant; nothing half-changed is seen. Break it by changing the credential in
// its place in Verifier.change, which the race detector sees.
func TestVerifyWhileTokensComeAndGo(t *testing.T) {
	d := newDesk(t, func(cfg *oat.Config) {
		cfg.Plans = quota.Plans{quota.Team: {Tokens: 10_000}}
		cfg.Verifier = oat.NewVerifier(oat.VerifierConfig{Plans: cfg.Plans, Now: cfg.Now})
	})
	kept, lasting := d.generate(func(cmd *oat.Generate) { cmd.Resources = []oat.Resource{oat.Repository("acme/api", oat.Read)} })
	var ended sync.Map // secrets of tokens whose end was acknowledged
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for !done.Load() {
				grant, err := d.Verifier.Verify(t.Context(), oat.Attempt{Organization: "acme", Secret: lasting})
				if err != nil {
					t.Errorf("a token that nobody touched: %v", err)
					return
				}
				one, two := may(grant, "acme/one"), may(grant, "acme/two")
				if may(grant, "acme/api") != "rrr" && one+two != "rrr---" && one+two != "---www" {
					t.Errorf("a grant that was never given: %s %s", one, two)
					return
				}
				if _, err := d.Verifier.Recheck(t.Context(), oat.Recheck{Organization: "acme", Token: kept.ID}); err != nil {
					t.Errorf("recheck: %v", err)
					return
				}
				ended.Range(func(secret, id any) bool {
					_, err := d.Verifier.Verify(t.Context(), oat.Attempt{Organization: "acme", Secret: oat.NewSecret(secret.(string))})
					_, again := d.Verifier.Recheck(t.Context(), oat.Recheck{Organization: "acme", Token: id.(uuid.UUID)})
					if err == nil || again == nil {
						t.Errorf("a token that was ended opened")
					}
					return false // one of them, a different one each time
				})
			}
		})
	}
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for i := range 60 {
				token, secret := d.generate()
				if i%2 == w {
					d.deactivate(token.ID)
				} else {
					d.delete(token.ID)
				}
				ended.Store(secret.Reveal(), token.ID)
			}
		})
	}
	for i := range 60 {
		resources := []oat.Resource{oat.Repository("acme/one", oat.Read)}
		if i%2 == 0 {
			resources = []oat.Resource{oat.Repository("acme/two", oat.ReadWrite)}
		}
		_, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: kept.ID, Resources: resources, Label: pointer(fmt.Sprint(i))})
		must(t, err)
		must(t, d.Verifier.Apply(t.Context(), d.records()))
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
}
