package projection_test

import (
	"context"
	"fmt"
	"log"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/projection"
)

// teller appends records to the stream of one organization, at times of its own
// choice.
type teller struct {
	log    *memlog.Log
	stream events.StreamID
	n      byte
}

func (a *teller) say(actor, at string, p events.Payload) {
	when, err := time.Parse("2006-01-02 15:04", at)
	if err != nil {
		log.Fatal(err)
	}
	a.n++
	e, err := events.NewEnvelope([16]byte{15: a.n}, when, actor, p)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := a.log.Append(context.Background(), a.stream, events.Any, e); err != nil {
		log.Fatal(err)
	}
}

var deploy = uuid.MustParse("6f1c1c0e-5f1e-4c55-9d35-0f4c4a2f9a10")

// life is a short one.
func life() *memlog.Log {
	a := &teller{log: memlog.New(), stream: events.OrganizationStream("acme")}
	pull := []events.Resource{{Type: "TYPE_REPO", Path: "acme/api", Scopes: []string{"scope-image-pull"}}}
	push := []events.Resource{{Type: "TYPE_REPO", Path: "acme/*", Scopes: []string{"scope-image-pull", "scope-image-push"}}}
	label := "deploy (read only)"
	a.say("host:shop", "2026-03-01 09:00", &events.OrganizationRegistered{Plan: "team", Owners: []string{"alice"}})
	a.say("alice", "2026-03-01 10:00", &events.TokenGenerated{Token: deploy.String(), Label: "deploy", Resources: push, ExpiresAt: "2026-06-01T00:00:00+02:00"})
	a.say("alice", "2026-03-02 08:00", &events.OrganizationOwnerAdded{Owner: "bob"})
	a.say("bob", "2026-03-02 12:00", &events.TokenEdited{Token: deploy.String(), Label: &label, Resources: pull})
	a.say("bob", "2026-03-02 11:05", &events.TokenDeactivated{Token: deploy.String()}) // the clock was set back
	a.say("alice", "2026-03-03 07:00", &events.TokenDeleted{Token: deploy.String()})
	return a.log
}

func ExampleHistory() {
	ctx, history := context.Background(), projection.NewHistory()
	runner, err := projection.NewRunner(projection.RunnerConfig{Log: life(), Projections: []projection.Projection{history}})
	if err != nil {
		log.Fatal(err)
	}
	if err := runner.CatchUp(ctx); err != nil {
		log.Fatal(err)
	}
	for _, e := range history.Organization("acme", projection.Span{}).Entries {
		fmt.Println(e.Version, e.Time.Format("2006-01-02 15:04"), e.Actor, e.Type)
		for _, c := range e.Changes {
			fmt.Printf("    %s: %q -> %q\n", c.Field, c.From, c.To)
		}
	}
	// Output:
	// 1 2026-03-01 09:00 host:shop organization.registered.v1
	//     plan: "" -> "team"
	//     owner: "" -> "alice"
	// 2 2026-03-01 10:00 alice token.generated.v1
	//     label: "" -> "deploy"
	//     expires_at: "" -> "2026-06-01T00:00:00+02:00"
	//     resources: "" -> "acme/*: scope-image-pull, scope-image-push"
	//     state: "" -> "active"
	// 3 2026-03-02 08:00 alice organization.owner_added.v1
	//     owner: "" -> "bob"
	// 4 2026-03-02 12:00 bob token.edited.v1
	//     label: "deploy" -> "deploy (read only)"
	//     resources: "acme/*: scope-image-pull, scope-image-push" -> "acme/api: scope-image-pull"
	// 5 2026-03-02 11:05 bob token.deactivated.v1
	//     state: "active" -> "inactive"
	// 6 2026-03-03 07:00 alice token.deleted.v1
	//     state: "inactive" -> "deleted"
}

// A record that a clock set back put before the one it was decided on did not
// happen before it.
func TestClockThatJumpedBackDoesNotReorder(t *testing.T) {
	history := projection.NewHistory()
	catchUp(t, life(), history)
	for at, want := range map[string]projection.State{
		"2026-03-02T11:04:00Z": projection.Active,   // deploy, may push
		"2026-03-02T11:30:00Z": projection.Active,   // after 11:05 by the clock, and yet before it
		"2026-03-02T12:00:00Z": projection.Inactive, // edited and then deactivated
		"2026-06-01T00:00:00Z": "",                  // deleted before it expired
	} {
		instant, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if token, _ := history.TokenAt("acme", deploy, instant); token.State != want {
			t.Errorf("at %s: %q, want %q", at, token.State, want)
		}
	}
}

// catchUp brings projections to the end of a log.
func catchUp(t *testing.T, l events.Log, projections ...projection.Projection) {
	t.Helper()
	runner, err := projection.NewRunner(projection.RunnerConfig{Log: l, Projections: projections})
	if err != nil {
		t.Fatal(err)
	}
	if err := runner.CatchUp(context.Background()); err != nil {
		t.Fatal(err)
	}
}
