package oat_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
)

func TestSanity(t *testing.T) {
	env := oattest.New(t)
	ctx := context.Background()
	tok, sec := env.Generate("acme", oat.Repository("acme/api", oat.ReadWrite))
	g, err := env.Verifier.Verify(ctx, oat.Attempt{Organization: "acme", Secret: sec})
	if err != nil || !g.Allows(oat.Push, "acme/api", 0) || g.Allows(oat.Pull, "acme/web", 0) {
		t.Fatal(err, g)
	}
	fmt.Printf("%v %+v %s\n", sec, struct{ s oat.Secret }{sec}, sec.Reveal())
	if err := env.Service.Deactivate(ctx, oat.Actor{User: oattest.Owner}, oat.Deactivate{Organization: "acme", Token: tok.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := env.Verifier.Verify(ctx, oat.Attempt{Organization: "acme", Secret: sec}); !errors.Is(err, oat.ErrRefused) {
		t.Fatal(err)
	}
	if err := env.Service.Deactivate(ctx, oat.Actor{User: oattest.Owner}, oat.Deactivate{Organization: "acme", Token: tok.ID}); !errors.Is(err, oat.ErrInactive) {
		t.Fatal(err)
	}
}
