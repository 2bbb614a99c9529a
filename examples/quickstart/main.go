// Quickstart is a tour of the library that checks itself: a token's whole life, with a
// real registry and a real client, on a log in a temporary folder.
//
//	go run ./examples/quickstart
//
// Every step does one thing, checks that it is as it should be, and says what was
// seen. If anything is not, the tour ends there with exit code 1.
//
// main.go is the tour. setup.go puts the parts together, as a program of yours would;
// images.go is the registry and its client.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

const org = "acme"

// alice owns the organization and gives every command.
var alice = oat.Actor{User: "alice"}

// tour is what the steps share.
type tour struct {
	*parts
	images *images
	token  oat.Token  // the one whose life this is
	secret oat.Secret // and what opens with it
}

// run is the tour.
func run(ctx context.Context, out io.Writer) (err error) {
	parts, err := setUp(ctx)
	if err != nil {
		return err
	}
	t := &tour{parts: parts}
	defer func() { err = errors.Join(err, t.images.close(), t.parts.close()) }()
	for i, step := range []func(context.Context) (string, error){
		t.register, t.generate, t.startRegistry, t.pushAndPull, t.editToReadOnly, t.deactivate,
		t.lookWhoUsedIt, t.delete, t.fillQuota, t.rebuild, t.tellHistory, t.verifyChain,
	} {
		seen, err := step(ctx)
		if err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
		fmt.Fprintf(out, "%2d. %s\n", i+1, seen)
	}
	fmt.Fprintln(out, "Everything was as it should be.")
	return nil
}

func (t *tour) register(ctx context.Context) (string, error) {
	err := t.service.Register(ctx, alice, oat.Register{Organization: org, Plan: quota.Team, Owners: []string{"alice"}})
	return fmt.Sprintf("registered %s on plan %s, owned by alice, in %s", org, quota.Team, t.path), err
}

func (t *tour) generate(ctx context.Context) (_ string, err error) {
	t.token, t.secret, err = t.service.Generate(ctx, alice, oat.Generate{
		Organization: org,
		Label:        "ci",
		Expires:      oat.ExpiresAt(time.Now().AddDate(0, 3, 0)),
		Resources:    []oat.Resource{oat.All(org, oat.ReadWrite)},
	})
	if err != nil {
		return "", err
	}
	// A secret is shown only to those who ask with Reveal.
	if shown := fmt.Sprintf("%v %+v", t.secret, t.token); strings.Contains(shown, t.secret.Reveal()) {
		return "", errors.New("the secret was printed")
	}
	return fmt.Sprintf("generated token ci, read and write on all of %s; its secret prints as %v", org, t.secret), nil
}

func (t *tour) startRegistry(context.Context) (_ string, err error) {
	t.images, err = startImages(t.parts, t.secret)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("started CNCF distribution on %s, which trusts our token endpoint", t.images.address), nil
}

func (t *tour) pushAndPull(ctx context.Context) (string, error) {
	pushed, err := t.images.push(ctx, "v1")
	if err != nil {
		return "", err
	}
	pulled, err := t.images.pull(ctx, "v1")
	if err != nil {
		return "", err
	}
	if pulled != pushed {
		return "", fmt.Errorf("pushed %s, but pulled %s", pushed, pulled)
	}
	return fmt.Sprintf("logged in as %s, pushed %s:v1 and pulled it back: %.19s…", org, t.images.repository, pulled), nil
}

func (t *tour) editToReadOnly(ctx context.Context) (string, error) {
	_, err := t.service.Edit(ctx, alice, oat.Edit{
		Organization: org, Token: t.token.ID, Resources: []oat.Resource{oat.All(org, oat.Read)},
	})
	if err != nil {
		return "", err
	}
	_, err = t.images.push(ctx, "v2")
	if !isDenied(err) {
		return "", fmt.Errorf("push with a read-only token: %w", unexpected(err))
	}
	if _, err := t.images.pull(ctx, "v1"); err != nil {
		return "", fmt.Errorf("pull with a read-only token: %w", err)
	}
	return "edited ci to read only: the push is refused, the pull is allowed", nil
}

// deactivate shows that a client which is logged in, and holds a registry token that
// has most of its minute left, is refused by its very next request.
func (t *tour) deactivate(ctx context.Context) (string, error) {
	err := t.service.Deactivate(ctx, alice, oat.Deactivate{Organization: org, Token: t.token.ID})
	if err != nil {
		return "", err
	}
	began := time.Now()
	_, err = t.images.pull(ctx, "v1")
	took := time.Since(began)
	if !isUnauthorized(err) {
		return "", fmt.Errorf("pull with a deactivated token: %w", unexpected(err))
	}
	_, err = t.service.Edit(ctx, alice, oat.Edit{Organization: org, Token: t.token.ID, Label: new("ci again")})
	if !errors.Is(err, oat.ErrInactive) {
		return "", fmt.Errorf("edit of a deactivated token: %w", unexpected(err))
	}
	return fmt.Sprintf("deactivated ci: the very next pull is refused, after %v; Edit: %v", took.Round(100*time.Microsecond), err), nil
}

func (t *tour) lookWhoUsedIt(ctx context.Context) (string, error) {
	if err := t.follow(ctx); err != nil {
		return "", err
	}
	used, found := t.live.lastUsed.Of(org, t.token.ID)
	if !found || used.Accepted.Count == 0 || used.Refused.Count == 0 {
		return "", fmt.Errorf("uses of the token: %+v", used)
	}
	return fmt.Sprintf("last used from %s; %d logins accepted, %d refused because the token was %s",
		used.Accepted.Address, used.Accepted.Count, used.Refused.Count, used.Refused.Cause), nil
}

func (t *tour) delete(ctx context.Context) (string, error) {
	if err := t.service.Delete(ctx, alice, oat.Delete{Organization: org, Token: t.token.ID}); err != nil {
		return "", err
	}
	err := t.service.Deactivate(ctx, alice, oat.Deactivate{Organization: org, Token: t.token.ID})
	if !errors.Is(err, oat.ErrTokenNotFound) {
		return "", fmt.Errorf("deactivation of a deleted token: %w", unexpected(err))
	}
	return fmt.Sprintf("deleted ci: every later command on it is refused: %v", err), nil
}

// fillQuota shows that an expired token counts like any other.
func (t *tour) fillQuota(ctx context.Context) (string, error) {
	expiry := time.Now().Add(time.Second)
	generate := func(expires oat.Expiry) (oat.Secret, error) {
		_, secret, err := t.service.Generate(ctx, alice, oat.Generate{
			Organization: org, Label: "robot", Expires: expires, Resources: []oat.Resource{oat.Public()},
		})
		return secret, err
	}
	short, err := generate(oat.ExpiresAt(expiry))
	for range 9 {
		if err == nil {
			_, err = generate(oat.Never())
		}
	}
	if err != nil {
		return "", err
	}
	if err := waitUntil(ctx, expiry); err != nil {
		return "", err
	}
	if _, err := t.verifier.Verify(ctx, oat.Attempt{Organization: org, Secret: short}); !errors.Is(err, oat.ErrRefused) {
		return "", fmt.Errorf("an expired token: %w", unexpected(err))
	}
	var exceeded *quota.ExceededError
	if _, err = generate(oat.Never()); !errors.As(err, &exceeded) || exceeded.Count != 10 || exceeded.Limit != 10 {
		return "", fmt.Errorf("the eleventh token: %w", unexpected(err))
	}
	if err := t.follow(ctx); err != nil {
		return "", err
	}
	count, _ := t.live.counts.Of(org, time.Now())
	if count.Active != 9 || count.Expired != 1 || count.Remaining != 0 {
		return "", fmt.Errorf("counts: %+v", count)
	}
	return fmt.Sprintf("generated %d tokens and let %d expire; the eleventh is refused: %v", count.Total, count.Expired, err), nil
}

// rebuild folds the read models from the log once more, and compares.
func (t *tour) rebuild(ctx context.Context) (string, error) {
	again, records := newModels(), int64(0)
	runner, err := projection.NewRunner(projection.RunnerConfig{
		Log: t.log, Projections: again.all(),
		Progress: func(p projection.Progress) { records = p.Records },
	})
	if err != nil {
		return "", err
	}
	if err := errors.Join(t.follow(ctx), runner.CatchUp(ctx)); err != nil {
		return "", err
	}
	if now := time.Now(); !reflect.DeepEqual(again.view(now), t.live.view(now)) {
		return "", errors.New("the rebuilt projections are not the live ones")
	}
	return fmt.Sprintf("rebuilt every projection from the %d records of the log: they equal the live ones", records), nil
}

func (t *tour) tellHistory(context.Context) (string, error) {
	story := t.live.history.Token(org, t.token.ID, projection.Span{})
	if story.Total != 4 {
		return "", fmt.Errorf("the history has %d entries, want 4", story.Total)
	}
	told := "the history of ci, from the log:"
	for _, e := range story.Entries {
		told += fmt.Sprintf("\n      %s  %s  %s", e.Time.Format("15:04:05.000"), e.Actor, e.Type)
		for _, c := range e.Changes {
			told += fmt.Sprintf("\n          %s: %q → %q", c.Field, c.From, c.To)
		}
	}
	return told, nil
}

func (t *tour) verifyChain(ctx context.Context) (string, error) {
	head, err := events.VerifyChain(ctx, t.log, events.OrganizationStream(org))
	if err == nil && head.Version != 15 {
		err = fmt.Errorf("the chain has %d records, want 15", head.Version)
	}
	return fmt.Sprintf("verified the hash chain of %s: %d records, the last %.16s…", org, head.Version, head.Hash), err
}

// unexpected is what went on instead of the refusal that was expected.
func unexpected(err error) error {
	if err == nil {
		return errors.New("was not refused")
	}
	return err
}

func waitUntil(ctx context.Context, at time.Time) error {
	select {
	case <-time.After(time.Until(at)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
