package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"

	"github.com/oatmill/oatmill/examples/internal/accounts"
	"github.com/oatmill/oatmill/examples/internal/site"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/console"
	"github.com/oatmill/oatmill/oat/hubapi"
	"github.com/oatmill/oatmill/oat/registryauth"
	"github.com/oatmill/oatmill/quota"
)

// routes is everything the server answers.
func (s *server) routes(verbose bool) (http.Handler, error) {
	mux := http.NewServeMux()
	health := site.NewHealth(s.verifier, s.log)
	mux.HandleFunc("/healthz", health.Live)
	mux.HandleFunc("/readyz", health.Ready)
	signIns := quota.NewAttempts(s.tries) // of the form and the API together
	desk, err := newDesk(s, signIns)
	if err != nil {
		return nil, err
	}
	desk.mount(mux)
	api, err := s.mountAPI(mux, signIns)
	if err != nil {
		return nil, err
	}
	handler := site.Secured(s.hsts, site.Prompt(mux, "/v2/", site.UsualLimits()))
	return handler, errors.Join(s.mountConsole(mux, desk), s.mountRegistry(mux, api, verbose))
}

func (s *server) mountConsole(mux *http.ServeMux, desk *desk) error {
	pages, err := console.New(console.Config{
		Service: s.service, Log: s.log, Runner: s.runner,
		Tokens: s.models.tokens, Counts: s.models.counts, LastUsed: s.models.lastUsed, History: s.models.history, Daily: s.models.daily,
		User: desk.user, SignIn: signInPath, SignOut: "/sign-out",
		Repositories: s.data.Repositories, Registry: site.RegistryHost(s.url), TrustedOrigins: []string{s.url}, Logger: s.logger,
	})
	if err != nil {
		return err
	}
	mux.Handle("/", pages)
	return nil
}

func (s *server) mountAPI(mux *http.ServeMux, signIns *quota.Attempts) (http.Handler, error) {
	// Sessions last minutes, but a restart should end none of them.
	key, err := site.ReadKey(s.data.File(apiKeyName), hubapi.MinSecret, func() []byte {
		key := make([]byte, hubapi.MinSecret)
		_, _ = rand.Read(key) // never fails
		return key
	})
	if err != nil {
		return nil, fmt.Errorf("key of the API: %w", err)
	}
	api, err := hubapi.New(hubapi.Config{
		Service: s.service, Log: s.log, Runner: s.runner,
		Tokens: s.models.tokens, History: s.models.history, LastUsed: s.models.lastUsed,
		SignIn: s.checkPassword, Keys: []hubapi.Key{hubapi.HMAC(key)}, BaseURL: s.url,
		Rate: s.requests, SignIns: signIns, ClientAddress: s.proxies.ClientAddress, Logger: s.logger,
	})
	if err != nil {
		return nil, err
	}
	api.Mount(mux)
	return api, nil
}

// checkPassword lets the people of the console sign in to the API.
func (s *server) checkPassword(ctx context.Context, name string, password oat.Secret) (string, error) {
	err := s.accounts.Check(ctx, name, password.Reveal())
	if errors.Is(err, accounts.ErrRefused) {
		return "", oat.ErrRefused
	}
	return name, err
}

// mountRegistry registers the registry for its own addresses below /v2/. All others there are of
// Docker's API, of which api has a part, and answers the rest 404.
func (s *server) mountRegistry(mux *http.ServeMux, api http.Handler, verbose bool) error {
	keys, err := registryauth.OpenKeys(s.data.Keys(), registryauth.KeysConfig{})
	if err != nil {
		return err
	}
	realm := s.url + "/token"
	auth, err := registryauth.New(registryauth.Config{
		Verifier: s.verifier, Keys: keys, Issuer: site.ServiceName, Services: []string{site.ServiceName},
		Realm: realm, Visibility: site.Public(s.public), ClientAddress: s.proxies.ClientAddress, Logger: s.logger,
	})
	if err != nil {
		return err
	}
	if err := keys.WriteJWKS(s.data.JWKS()); err != nil {
		return err
	}
	if s.images, err = site.NewImages(s.data, realm, verbose); err != nil {
		return err
	}
	mux.Handle("/token", auth)
	mux.Handle("/jwks.json", auth.JWKS())
	registry := auth.Guard(s.images)
	mux.HandleFunc("/v2/", func(w http.ResponseWriter, r *http.Request) {
		if registryauth.IsRegistryPath(r.URL.Path) {
			registry.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
	return nil
}
