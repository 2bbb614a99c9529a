package oat_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// check ends an example that does not go as it should.
func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// A process that runs commands, verifies and records use. In place of the log in memory
// stands one that survives a restart; nothing else changes.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	shared := memlog.New()
	recorder, err := oat.NewRecorder(oat.RecorderConfig{Log: shared})
	check(err)
	verifier := oat.NewVerifier(oat.VerifierConfig{Recorder: recorder})
	service, err := oat.New(oat.Config{Log: shared, Verifier: verifier})
	check(err)
	runner, err := projection.NewRunner(projection.RunnerConfig{Log: shared, Projections: []projection.Projection{verifier}})
	check(err)
	check(runner.CatchUp(ctx)) // from here on the verifier answers
	go runner.Run(ctx)         // and keeps up with other processes

	// An organization and its first token.
	alice := oat.Actor{User: "alice", Reason: "first build server"}
	check(service.Register(ctx, alice, oat.Register{Organization: "acme", Plan: quota.Team, Owners: []string{"alice"}}))
	token, secret, err := service.Generate(ctx, alice, oat.Generate{
		Organization: "acme",
		Label:        "ci",
		Expires:      oat.ExpiresAt(time.Now().AddDate(0, 3, 0)),
		Resources:    []oat.Resource{oat.Repository("acme/api", oat.ReadWrite)},
	})
	check(err)
	fmt.Println(token.Label, "of", token.Organization, "by", token.CreatedBy)
	fmt.Println("printed by accident:", secret)
	shownOnce := secret.Reveal()

	// Somebody logs in: docker login --username acme, and the secret as password.
	attempt := oat.Attempt{Organization: "acme", Secret: oat.NewSecret(shownOnce)}
	grant, err := verifier.Verify(ctx, attempt)
	check(err)
	fmt.Println("push to acme/api:", grant.Allows(oat.Push, "acme/api", oat.VisibilityPrivate))
	fmt.Println("pull from acme/web:", grant.Allows(oat.Pull, "acme/web", oat.VisibilityPrivate))

	// The token leaked. From the next line on it opens nothing.
	check(service.Deactivate(ctx, oat.Actor{User: "alice", Reason: "found in a public repository"}, oat.Deactivate{
		Organization: "acme", Token: token.ID,
	}))
	_, err = verifier.Verify(ctx, attempt)
	fmt.Println(err)
	check(service.Delete(ctx, alice, oat.Delete{Organization: "acme", Token: token.ID}))

	check(recorder.Close(ctx))
	// Output:
	// ci of acme by alice
	// printed by accident: [redacted]
	// push to acme/api: true
	// pull from acme/web: false
	// incorrect username or password
}

// What went wrong is told by errors.Is, all of a command's fields at once by
// errors.As, and what a quota allows by errors.As as well.
func Example_refusals() {
	ctx := context.Background()
	plans := quota.Plans{"starter": {Tokens: 1}}
	service, err := oat.New(oat.Config{Log: memlog.New(), Plans: plans})
	check(err)
	alice, mallory := oat.Actor{User: "alice"}, oat.Actor{User: "mallory"}
	check(service.Register(ctx, alice, oat.Register{Organization: "acme", Plan: "starter", Owners: []string{"alice"}}))

	_, _, err = service.Generate(ctx, alice, oat.Generate{
		Organization: "acme",
		Label:        "   ",
		Resources:    []oat.Resource{oat.Repository("other/api", oat.Read)},
	})
	var problems oat.ValidationErrors
	if errors.As(err, &problems) {
		for _, p := range problems {
			fmt.Printf("%s: %s\n", p.Field, p.Problem)
		}
	}

	cmd := oat.Generate{Organization: "acme", Label: "ci", Expires: oat.Never(), Resources: []oat.Resource{oat.Public()}}
	_, _, err = service.Generate(ctx, mallory, cmd)
	fmt.Println(err, errors.Is(err, oat.ErrNotOwner))
	_, _, err = service.Generate(ctx, alice, cmd)
	check(err)
	_, _, err = service.Generate(ctx, alice, cmd)
	var exceeded *quota.ExceededError
	if errors.As(err, &exceeded) {
		fmt.Println("limit", exceeded.Limit, "count", exceeded.Count)
	}
	// Output:
	// label: is required
	// expires_at: choose an instant, or never
	// resources[0].path: "other/api" is not a repository of acme
	// not an owner of the organization true
	// limit 1 count 1
}

// A host that knows the owners of organizations itself is asked, and the log has none.
func ExampleOwners() {
	ctx := context.Background()
	service, err := oat.New(oat.Config{Log: memlog.New(), Owners: directory{"acme": "alice"}})
	check(err)
	signup := oat.Actor{Host: "signup"}
	check(service.Register(ctx, signup, oat.Register{Organization: "acme", Plan: quota.Team}))
	for _, user := range []string{"bob", "alice"} {
		_, _, err := service.Generate(ctx, oat.Actor{User: user}, oat.Generate{
			Organization: "acme", Label: "ci", Expires: oat.Never(), Resources: []oat.Resource{oat.Public()},
		})
		fmt.Println(user, err)
	}
	// Output:
	// bob not an owner of the organization
	// alice <nil>
}

// directory is who owns which organization.
type directory map[string]string

func (d directory) IsOwner(_ context.Context, organization, user string) (bool, error) {
	return d[organization] == user, nil
}

// Another process learns of a revocation by following the log.
func ExampleVerifier() {
	ctx := context.Background()
	shared := memlog.New()
	here, err := oat.New(oat.Config{Log: shared})
	check(err)
	alice := oat.Actor{User: "alice"}
	check(here.Register(ctx, alice, oat.Register{Organization: "acme", Plan: quota.Team, Owners: []string{"alice"}}))
	token, secret, err := here.Generate(ctx, alice, oat.Generate{
		Organization: "acme", Label: "ci", Expires: oat.Never(), Resources: []oat.Resource{oat.All("acme", oat.Read)},
	})
	check(err)

	there := oat.NewVerifier(oat.VerifierConfig{})
	attempt := oat.Attempt{Organization: "acme", Secret: secret}
	_, err = there.Verify(ctx, attempt)
	fmt.Println("before it has read the log:", errors.Is(err, oat.ErrStale))

	runner, err := projection.NewRunner(projection.RunnerConfig{Log: shared, Projections: []projection.Projection{there}})
	check(err)
	check(runner.CatchUp(ctx)) // a server calls Run
	_, err = there.Verify(ctx, attempt)
	fmt.Println("after it has read it:", err)

	check(here.Deactivate(ctx, alice, oat.Deactivate{Organization: "acme", Token: token.ID}))
	check(runner.CatchUp(ctx))
	_, err = there.Verify(ctx, attempt)
	fmt.Println("after the deactivation:", err)
	// Output:
	// before it has read the log: true
	// after it has read it: <nil>
	// after the deactivation: incorrect username or password
}

// Public repositories are those that everyone in the world may read. Where the
// visibility is not known, say so: it counts as private.
func ExampleGrant_Allows() {
	anonymous := oat.Anonymous()
	fmt.Println(anonymous.Allows(oat.Pull, "library/alpine", oat.VisibilityPublic))
	fmt.Println(anonymous.Allows(oat.Push, "library/alpine", oat.VisibilityPublic))
	fmt.Println(anonymous.Allows(oat.Pull, "acme/api", oat.VisibilityUnknown))
	// Output:
	// true
	// false
	// false
}

// A text that cannot be a token's secret is told without asking anybody.
func ExampleParseSecret() {
	for _, text := range []string{
		"oat_QRSTUVWXYZabcdefghijklmnop18qj3q",
		"oat_QRSTUVWXYZabcdefghijklmnop18qj3r",
		"correct horse battery staple",
	} {
		secret, err := oat.ParseSecret(text)
		fmt.Println(secret, err)
	}
	// Output:
	// [redacted] <nil>
	// [redacted] invalid command: not an organization access token
	// [redacted] invalid command: not an organization access token
}

// What was recorded is read from the log, or from the read models of package
// projection.
func ExampleRecorder() {
	ctx := context.Background()
	shared := memlog.New()
	recorder, err := oat.NewRecorder(oat.RecorderConfig{Log: shared})
	check(err)
	token, err := oat.ParseTokenID("0f8fad5b-d9cb-469f-a165-70867728950e")
	check(err)
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	// A verifier with a recorder does this by itself.
	recorder.Record(oat.Use{Organization: "acme", Token: token, At: at, Address: "192.0.2.1", UserAgent: "docker/29"})
	check(recorder.Close(ctx))
	for r, err := range shared.ReadStream(ctx, events.UsageStream("acme"), 0) {
		check(err)
		fmt.Println(r.Type, string(r.Data))
	}
	// Output:
	// usage.recorded.v1 {"uses":[{"token":"0f8fad5b-d9cb-469f-a165-70867728950e","accepted":{"first":"2026-01-01T00:00:00Z","last":"2026-01-01T00:00:00Z","count":1,"address":"192.0.2.1","user_agent":"docker/29"}}]}
}
