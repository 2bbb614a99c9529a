package main

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/oatmill/oatmill/oat/registryauth"
)

// A CNCF registry reads the keys when it starts and never again. It goes on through
// one rotation, for clients from before and from after it, and must be restarted
// before a second one.
func TestRegistryGoesOnThroughOneRotation(t *testing.T) {
	for _, algorithm := range []registryauth.Algorithm{registryauth.ES256, registryauth.EdDSA} {
		t.Run(string(algorithm), func(t *testing.T) {
			tour, keys := startTour(t, algorithm)
			ctx := t.Context()
			if _, err := tour.images.push(ctx, "v1"); err != nil {
				t.Fatal(err)
			}
			if err := keys.Rotate(); err != nil {
				t.Fatal(err)
			}
			if _, err := tour.images.pull(ctx, "v1"); err != nil {
				t.Errorf("a client from before the rotation: %v", err)
			}
			logInAgain(t, tour)
			if _, err := tour.images.pull(ctx, "v1"); err != nil {
				t.Errorf("a client from after the rotation: %v", err)
			}
			if err := keys.Rotate(); err != nil {
				t.Fatal(err)
			}
			logInAgain(t, tour)
			if _, err := tour.images.pull(ctx, "v1"); !isUnauthorized(err) {
				t.Errorf("after a second rotation: %v", err)
			}
		})
	}
}

// startTour goes the first steps of the tour, with keys of an algorithm.
func startTour(t *testing.T, algorithm registryauth.Algorithm) (*tour, *registryauth.Keys) {
	t.Helper()
	ctx := t.Context()
	parts, err := setUp(ctx)
	if err != nil {
		t.Fatal(err)
	}
	tour := &tour{parts: parts}
	t.Cleanup(func() {
		if err := errors.Join(tour.images.close(), parts.close()); err != nil {
			t.Error(err)
		}
	})
	keys, err := registryauth.OpenKeys(filepath.Join(parts.folder, "keys.json"), registryauth.KeysConfig{Algorithm: algorithm})
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := tour.register(ctx)
	_, err2 := tour.generate(ctx)
	_, err3 := tour.startRegistry(ctx)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return tour, keys
}

func logInAgain(t *testing.T, tour *tour) {
	t.Helper()
	if err := tour.images.logIn(tour.secret); err != nil {
		t.Fatal(err)
	}
}
