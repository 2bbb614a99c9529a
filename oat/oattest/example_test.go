package oattest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/oattest"
)

// A host's test of what it does with a token whose access is over.
func Example() {
	t := new(testing.T) // a test uses the one it is given
	env := oattest.New(t)
	token, secret := env.Generate("acme", oat.All("acme", oat.Read))

	login := func() {
		grant, err := env.Verifier.Verify(context.Background(), oat.Attempt{Organization: "acme", Secret: secret})
		fmt.Println(grant.Allows(oat.Pull, "acme/api", oat.VisibilityPrivate), err)
	}
	login()
	env.Clock.Advance(365 * 24 * time.Hour) // it never expires
	login()
	err := env.Service.Deactivate(context.Background(), oat.Actor{User: oattest.Owner}, oat.Deactivate{
		Organization: "acme", Token: token.ID,
	})
	if err != nil {
		t.Fatal(err)
	}
	login()
	// Output:
	// true <nil>
	// true <nil>
	// false incorrect username or password
}
