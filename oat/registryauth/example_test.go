package registryauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/registryauth"
)

// A client asks for a registry token with an organization access token.
func Example() {
	ctx := context.Background()
	verifier := oat.NewVerifier(oat.VerifierConfig{})
	verifier.Confirm(time.Now()) // the job of a projection.Runner
	service, err := oat.New(oat.Config{Log: memlog.New(), Verifier: verifier})
	if err != nil {
		log.Fatal(err)
	}
	alice := oat.Actor{User: "alice"}
	if err := service.Register(ctx, alice, oat.Register{Organization: "acme", Plan: "team", Owners: []string{"alice"}}); err != nil {
		log.Fatal(err)
	}
	_, secret, err := service.Generate(ctx, alice, oat.Generate{
		Organization: "acme", Label: "ci", Expires: oat.Never(), Resources: []oat.Resource{oat.All("acme", oat.Read)},
	})
	if err != nil {
		log.Fatal(err)
	}

	folder, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	keys, err := registryauth.OpenKeys(filepath.Join(folder, "keys.json"), registryauth.KeysConfig{})
	if err != nil {
		log.Fatal(err)
	}
	auth, err := registryauth.New(registryauth.Config{
		Verifier: verifier, Keys: keys,
		Issuer: "auth.example.com", Services: []string{"registry.example.com"}, Realm: "https://auth.example.com/token",
	})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(auth)
	defer server.Close()

	request, err := http.NewRequest(http.MethodGet, server.URL+"?service=registry.example.com&scope=repository:acme/api:pull,push", nil)
	if err != nil {
		log.Fatal(err)
	}
	request.SetBasicAuth("acme", secret.Reveal())
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Token     string `json:"token"`
		ExpiresIn int    `json:"expires_in"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		log.Fatal(err)
	}
	fmt.Println(response.Status, answer.Token != "", answer.ExpiresIn)
	// Output: 200 OK true 60
}
