package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/token" // the "token" of the configuration
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // and its "filesystem"
	"github.com/sirupsen/logrus"
)

// images is the CNCF distribution registry. It keeps images in the data folder, and
// takes bearer tokens that the token endpoint at realm signed.
type images struct{ *handlers.App }

// newImages configures the registry as its configuration file would. The registry
// panics over a configuration it cannot use, which here is an error like any other.
func newImages(data folder, realm string, verbose bool) (i *images, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("start the registry in %s: %v", data.images(), problem)
		}
	}()
	// The registry logs as errors what is everyday, like asking for a layer that has
	// to be pushed yet. logFailures tells what is not.
	logrus.SetLevel(logrus.InfoLevel)
	if !verbose {
		logrus.SetOutput(io.Discard)
	}
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem": {"rootdirectory": data.images()},
			"delete":     {"enabled": false}, // no token allows it either
		},
		Auth: configuration.Auth{"token": {
			"realm": realm, "issuer": serviceName, "service": serviceName, "jwks": data.jwks(),
		}},
	}
	config.HTTP.Secret = rand.Text() // signs the state of uploads, which end with the process
	return &images{handlers.NewApp(context.Background(), config)}, nil
}

func (i *images) close() error {
	if i == nil {
		return nil
	}
	return i.Shutdown()
}

// logFailures logs every answer that says that the server failed.
func logFailures(logger *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		watched := &statusWriter{ResponseWriter: w}
		next.ServeHTTP(watched, r)
		if watched.status >= http.StatusInternalServerError {
			logger.ErrorContext(r.Context(), "request failed; --verbose tells more",
				slog.Int("status", watched.status), slog.String("method", r.Method), slog.String("path", r.URL.Path))
		}
	})
}

// statusWriter remembers how a request was answered.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach through.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
