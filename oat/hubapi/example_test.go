package hubapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/hubapi"
	"github.com/oatmill/oatmill/projection"
)

// A host mounts the API beside its own pages, and an owner's script creates a token.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	events := memlog.New()
	service, err := oat.New(oat.Config{Log: events})
	if err != nil {
		log.Fatal(err)
	}
	api, err := newAPI(ctx, events, service)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "the host's own page") })
	api.Mount(mux)
	server := httptest.NewServer(mux)
	defer server.Close()

	alice := oat.Actor{User: "alice"}
	if err := service.Register(ctx, alice, oat.Register{Organization: "acme", Plan: "team", Owners: []string{"alice"}}); err != nil {
		log.Fatal(err)
	}

	var session struct {
		AccessToken string `json:"access_token"`
	}
	if _, err := post(server.URL+"/v2/auth/token", "", `{"identifier": "alice", "secret": "opensesame"}`, &session); err != nil {
		log.Fatal(err)
	}
	var created struct {
		Label string `json:"label"`
		Token string `json:"token"`
	}
	const request = `{
		"label": "ci",
		"resources": [{"type": "TYPE_REPO", "path": "acme/api", "scopes": ["scope-image-pull"]}],
		"expires_at": "2999-12-31T00:00:00Z"
	}`
	status, err := post(server.URL+"/v2/orgs/acme/access-tokens", session.AccessToken, request, &created)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status, created.Label, created.Token[:4])
	// Output: 201 Created ci oat_
}

// newAPI is the API on a log, and what it needs.
func newAPI(ctx context.Context, events *memlog.Log, service *oat.Service) (*hubapi.Handler, error) {
	tokens, history, lastUsed := projection.NewTokens(), projection.NewHistory(), projection.NewLastUsed()
	runner, err := projection.NewRunner(projection.RunnerConfig{
		Log: events, Projections: []projection.Projection{tokens, history, lastUsed},
	})
	if err != nil {
		return nil, err
	}
	go func() {
		if err := runner.Run(ctx); err != nil {
			log.Fatal(err)
		}
	}()
	return hubapi.New(hubapi.Config{
		Service: service, Log: events, Tokens: tokens, History: history, LastUsed: lastUsed, Runner: runner,
		SignIn: func(_ context.Context, identifier string, secret oat.Secret) (string, error) {
			if identifier == "alice" && secret.Reveal() == "opensesame" {
				return "alice", nil
			}
			return "", oat.ErrRefused
		},
		Keys: []hubapi.Key{hubapi.HMAC([]byte("32 bytes that nobody else knows!"))},
	})
}

// post sends JSON and reads JSON.
func post(address, jwt, body string, answer any) (status string, err error) {
	request, err := http.NewRequest(http.MethodPost, address, bytes.NewReader([]byte(body)))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+jwt)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	return response.Status, errors.Join(json.NewDecoder(response.Body).Decode(answer), response.Body.Close())
}
