package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/token" // the "token" of the configuration
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // and its "inmemory"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/sirupsen/logrus"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/oat/registryauth"
)

// images is a registry that listens on this machine, and a client that is logged in
// to it as the organization.
type images struct {
	address    string
	repository name.Repository
	registry   *handlers.App
	server     *http.Server
	pusher     *remote.Pusher
	puller     *remote.Puller
}

// startImages starts the registry with three handlers on one address: the token
// endpoint, its public keys, and the registry behind the guard.
func startImages(p *parts, secret oat.Secret) (*images, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i := &images{address: listener.Addr().String()}
	handler, err := i.handler(p)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	i.server = &http.Server{Handler: handler}
	go func() { _ = i.server.Serve(listener) }() // until close
	return i, i.logIn(secret)
}

func (i *images) handler(p *parts) (http.Handler, error) {
	const service = "registry.example.com"
	realm := "http://" + i.address + "/token"
	keys, err := registryauth.OpenKeys(filepath.Join(p.folder, "keys.json"), registryauth.KeysConfig{})
	if err != nil {
		return nil, err
	}
	auth, err := registryauth.New(registryauth.Config{
		Verifier: p.verifier, Keys: keys, Issuer: service, Services: []string{service}, Realm: realm,
	})
	if err != nil {
		return nil, err
	}
	jwks := filepath.Join(p.folder, "jwks.json")
	if err := keys.WriteJWKS(jwks); err != nil {
		return nil, err
	}
	i.registry = newDistribution(configuration.Parameters{"realm": realm, "issuer": service, "service": service, "jwks": jwks})
	mux := http.NewServeMux()
	mux.Handle("/token", auth)
	mux.Handle("/jwks.json", auth.JWKS())
	mux.Handle("/v2/", auth.Guard(i.registry))
	return mux, nil
}

// newDistribution is the CNCF registry, keeping its images in memory.
func newDistribution(trust configuration.Parameters) *handlers.App {
	logrus.SetOutput(io.Discard) // it tells about every request
	config := &configuration.Configuration{
		Storage: configuration.Storage{"inmemory": {}},
		Auth:    configuration.Auth{"token": trust},
	}
	config.HTTP.Secret = rand.Text()
	return handlers.NewApp(context.Background(), config)
}

// logIn makes a client that knows the organization's name and the token's secret. It
// keeps the registry tokens it gets for as long as they are good.
func (i *images) logIn(secret oat.Secret) (err error) {
	if i.repository, err = name.NewRepository(i.address + "/" + org + "/app"); err != nil {
		return err
	}
	login := remote.WithAuth(&authn.Basic{Username: org, Password: secret.Reveal()})
	i.pusher, err = remote.NewPusher(login)
	if err != nil {
		return err
	}
	i.puller, err = remote.NewPuller(login)
	return err
}

// push makes an image, pushes it, and returns its digest.
func (i *images) push(ctx context.Context, tag string) (string, error) {
	image, err := random.Image(1<<10, 2)
	if err != nil {
		return "", err
	}
	digest, err := image.Digest()
	if err != nil {
		return "", err
	}
	return digest.String(), i.pusher.Push(ctx, i.repository.Tag(tag), image)
}

// pull fetches an image with all its layers and returns its digest.
func (i *images) pull(ctx context.Context, tag string) (string, error) {
	descriptor, err := i.puller.Get(ctx, i.repository.Tag(tag))
	if err != nil {
		return "", err
	}
	image, err := descriptor.Image()
	if err != nil {
		return "", err
	}
	layers, err := image.Layers()
	for _, layer := range layers {
		if err != nil {
			break
		}
		err = drain(layer.Compressed())
	}
	return descriptor.Digest.String(), err
}

// drain reads a layer to its end, where its digest is compared.
func drain(layer io.ReadCloser, err error) error {
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, layer)
	return errors.Join(err, layer.Close())
}

// isUnauthorized reports whether the registry refused the credentials.
func isUnauthorized(err error) bool { return isStatus(err, http.StatusUnauthorized) }

// isDenied reports whether the registry refused what the credentials are not good for.
func isDenied(err error) bool { return isStatus(err, http.StatusForbidden) }

func isStatus(err error, status int) bool {
	var refused *transport.Error
	return errors.As(err, &refused) && refused.StatusCode == status
}

func (i *images) close() error {
	if i == nil {
		return nil
	}
	return errors.Join(i.server.Close(), i.registry.Shutdown())
}
