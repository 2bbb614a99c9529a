package site

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/oatmill/oatmill/oat"
)

const (
	// drainTimeout is how long requests that have begun may take after a signal.
	drainTimeout = 10 * time.Second
	// flushTimeout is how long writing down the last uses may take after that.
	flushTimeout = 5 * time.Second
)

// Serving is a server that is ready to serve.
type Serving struct {
	HTTP     *http.Server
	Listener net.Listener
	TLS      bool
	// PerAddress is how many connections each address may have open, 0 for any number, as
	// addresses of Proxies may.
	PerAddress int
	Proxies    Proxies
	// Follow keeps what is folded from the log up with it, until its context ends.
	Follow func(context.Context) error
	// Close ends what needs ending, after the last request.
	Close  func() error
	Logger *slog.Logger
}

// Run serves until ctx ends or something fails that ends it.
func (s *Serving) Run(ctx context.Context) error {
	following, stopFollowing := context.WithCancel(context.Background())
	defer stopFollowing()
	connections := newConnections(s.PerAddress, s.Proxies, s.Logger)
	s.HTTP.ConnState = connections.changed
	followed, served := make(chan error, 1), make(chan error, 1)
	go func() { followed <- s.Follow(following) }()
	go func() { served <- s.serve(connections.limit(s.Listener)) }()
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-served:
	case failed = <-followed:
		// Nobody could be sure of any token from here on.
		followed <- nil
	}
	// While requests are finished, the log is still followed: what is revoked now
	// is refused now.
	drained := s.drain()
	stopFollowing()
	return errors.Join(failed, drained, <-followed, s.Close())
}

func (s *Serving) serve(listener net.Listener) error {
	if s.TLS {
		return s.HTTP.ServeTLS(listener, "", "") // the certificate is in HTTP.TLSConfig
	}
	return s.HTTP.Serve(listener)
}

// drain lets requests that have begun finish, for a while.
func (s *Serving) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := s.HTTP.Shutdown(ctx); err != nil {
		s.Logger.Warn("requests were cut off", slog.Any("cause", err))
		return s.HTTP.Close()
	}
	return nil
}

// Flush closes a recorder, which writes down the uses that were not yet.
func Flush(recorder *oat.Recorder) error {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	return recorder.Close(ctx)
}

// NewHTTP is the http.Server around a handler.
func NewHTTP(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler: LogFailures(logger, handler),
		// Blobs are large, so there is no ReadTimeout; Prompt limits what is not.
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          log.New(complaints{logger}, "", 0),
	}
}

// complaints are what net/http has to say, a panic above all. That somebody did not
// finish a TLS handshake is everyday, wherever a port is open.
type complaints struct{ logger *slog.Logger }

func (c complaints) Write(line []byte) (int, error) {
	level := slog.LevelWarn
	if bytes.HasPrefix(line, []byte("http: TLS handshake error")) {
		level = slog.LevelDebug
	}
	c.logger.Log(context.Background(), level, string(bytes.TrimSpace(line)))
	return len(line), nil
}

// Secured tells browsers to reach this host by HTTPS alone, for a year, if it does.
func Secured(https bool, next http.Handler) http.Handler {
	if !https {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		next.ServeHTTP(w, r)
	})
}

// NewLogger logs to w what somebody should know, or everything.
func NewLogger(w io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// LogFailures logs every answer that says that the server failed. It names the pattern
// that the request matched and, below /v2/, the path; other paths may hold what opens.
func LogFailures(logger *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		watched := &statusWriter{ResponseWriter: w}
		next.ServeHTTP(watched, r)
		path := r.Pattern
		// That the server is not ready is an answer, and logged once by the log it is about.
		if watched.status < http.StatusInternalServerError || path == "/healthz" || path == "/readyz" {
			return
		}
		if strings.HasPrefix(r.URL.Path, "/v2/") {
			path = r.URL.Path
		}
		logger.ErrorContext(r.Context(), "request failed; --verbose tells more",
			slog.Int("status", watched.status), slog.String("method", r.Method), slog.String("path", oat.MaskSecrets(path)))
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
