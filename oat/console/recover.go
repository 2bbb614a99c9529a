package console

import (
	"log/slog"
	"net/http"
	"runtime/debug"
)

// tracked is a response of which is known whether anything of it has gone out.
type tracked struct {
	http.ResponseWriter
	begun bool
}

func (t *tracked) WriteHeader(status int) {
	t.begun = true
	t.ResponseWriter.WriteHeader(status)
}

func (t *tracked) Write(b []byte) (int, error) {
	t.begun = true
	return t.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (t *tracked) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// answerPanic answers a request that something panicked on, one of the host's functions
// for example, with a page like any other. An answer that has begun is cut off, so that
// nobody takes a part of it for the whole. It must be deferred itself.
func (c *Console) answerPanic(w *tracked, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	// What was panicked with may hold anything, and stays out of the log. The stack has
	// no texts, only where they are.
	c.cfg.Logger.LogAttrs(r.Context(), slog.LevelError, "console: panic",
		slog.String("method", r.Method), slog.String("route", r.Pattern), slog.String("stack", string(debug.Stack())))
	if w.begun {
		panic(http.ErrAbortHandler)
	}
	w.Header().Del("Content-Disposition") // of a file that there is none of now
	c.fail(w, r, http.StatusInternalServerError, "Something went wrong", "The console failed on its own side. If you sent a form, look whether it was carried out before you send it again.")
}
