package site

import (
	"io"
	"net/http"
	"time"
)

// Limits are how long a client may keep a connection waiting. Who sends or takes one byte
// a minute would otherwise hold it for ever, without having signed in.
type Limits struct {
	Body   time.Duration // for a whole body, everywhere but in the registry
	Answer time.Duration // from a request to the end of its answer, likewise
	Pause  time.Duration // between two parts of a body for the registry, which may be large
}

// UsualLimits are generous to forms and scripts, and to layers sent over slow lines.
func UsualLimits() Limits {
	return Limits{Body: 15 * time.Second, Answer: 30 * time.Second, Pause: time.Minute}
}

// Prompt sets limits to every request of mux. What the pattern registry matches may take
// as long as it likes, as long as it goes on.
func Prompt(mux *http.ServeMux, registry string, limits Limits) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A connection without deadlines, like one of a test, is served all the same.
		connection := http.NewResponseController(w)
		body := &promptBody{ReadCloser: r.Body, connection: connection}
		if _, pattern := mux.Handler(r); pattern == registry {
			body.pause = limits.Pause
			body.allow(limits.Pause)
		} else {
			_ = connection.SetWriteDeadline(time.Now().Add(limits.Answer))
			body.allow(limits.Body)
		}
		if body.limited {
			r.Body = body
		}
		mux.ServeHTTP(w, r)
	})
}

// promptBody is a body that has to arrive in time.
type promptBody struct {
	io.ReadCloser
	connection *http.ResponseController
	pause      time.Duration // that each part may take, 0 for none
	limited    bool
}

// allow gives the client some more time. Where there is no body there is nothing to wait
// for, and the deadline would only end the request while it is worked on.
func (b *promptBody) allow(d time.Duration) {
	if b.ReadCloser != nil && b.ReadCloser != http.NoBody {
		b.limited = b.connection.SetReadDeadline(time.Now().Add(d)) == nil
	}
}

func (b *promptBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	// At the end of the body net/http takes the deadline back itself.
	if err == nil && b.pause > 0 {
		b.allow(b.pause)
	}
	return n, err
}
