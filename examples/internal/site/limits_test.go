package site_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/examples/internal/site"
)

// logged is what a server logs without --verbose.
func logged(w io.Writer) *slog.Logger { return site.NewLogger(w, false) }

// listening serves mux, with limits, as the examples do.
func listening(t *testing.T, mux *http.ServeMux, limits site.Limits, log io.Writer) string {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.Config = site.NewHTTP(site.Prompt(mux, "/v2/", limits), logged(log))
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// stall sends the beginning of a body and returns what came back until the server hung up.
func stall(t *testing.T, addr, path string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nname="); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("%s: the server holds on to a stalled body: %v", path, err)
	}
	return string(answer)
}

// TestStalledBody: whoever stops in the middle of a body is hung up on, also where no
// handler reads it, and in the registry. Without Prompt's deadlines each of them waits.
func TestStalledBody(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/reads", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the body ended with %v", err)
		}
		w.WriteHeader(http.StatusTeapot)
	})
	mux.HandleFunc("/ignores", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	mux.HandleFunc("/v2/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusTeapot)
	})
	brief := site.Limits{Body: 50 * time.Millisecond, Answer: time.Minute, Pause: 50 * time.Millisecond}
	addr := listening(t, mux, brief, io.Discard)
	for _, path := range []string{"/reads", "/ignores", "/v2/acme/api/blobs/uploads/"} {
		if answer := stall(t, addr, path); !strings.HasPrefix(answer, "HTTP/1.1 418") {
			t.Errorf("%s was answered with %q", path, answer)
		}
	}
}

// TestSlowLayer: a body for the registry may take longer than a pause, as long as it goes
// on, and so may what the registry does with it. A Read that allows no more time breaks it.
func TestSlowLayer(t *testing.T) {
	const pause = 500 * time.Millisecond
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if n != 10 || err != nil {
			t.Errorf("of the layer came %d bytes: %v", n, err)
		}
		select {
		case <-r.Context().Done():
			t.Errorf("the request ended while it was worked on: %v", r.Context().Err())
		case <-time.After(2 * pause):
		}
	})
	addr := listening(t, mux, site.Limits{Body: time.Minute, Answer: time.Minute, Pause: pause}, io.Discard)
	part, layer := io.Pipe()
	go func() {
		for tick := range 10 {
			<-time.After(pause / 5)
			_, _ = layer.Write([]byte{byte(tick)})
		}
		_ = layer.Close()
	}()
	response, err := http.Post("http://"+addr+"/v2/acme/api/blobs/uploads/", "application/octet-stream", part)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
}

// TestSlowReader: whoever does not take an answer is hung up on; without the write
// deadline the handler waits for them.
func TestSlowReader(t *testing.T) {
	ended := make(chan error, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		part, err := make([]byte, 1<<20), error(nil)
		for err == nil {
			_, err = w.Write(part)
		}
		ended <- err
	})
	addr := listening(t, mux, site.Limits{Body: time.Minute, Answer: 100 * time.Millisecond, Pause: time.Minute}, io.Discard)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the answer ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the server waits for somebody who does not read")
	}
}

// TestPanicIsSeen without --verbose. At the level of debugging it is not.
func TestPanicIsSeen(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) { panic("a mistake of ours") })
	log := &lockedBuffer{written: make(chan string, 1)}
	addr := listening(t, mux, site.UsualLimits(), log)
	if response, err := http.Get("http://" + addr); err == nil {
		_ = response.Body.Close()
		t.Error("a handler that panics answers")
	}
	select {
	case line := <-log.written:
		if !strings.Contains(line, "level=WARN") || !strings.Contains(line, "a mistake of ours") {
			t.Errorf("the log says %q", line)
		}
	case <-time.After(20 * time.Second):
		t.Error("the log does not say that a handler panicked")
	}
}

// lockedBuffer hands over what is written first.
type lockedBuffer struct{ written chan string }

func (b *lockedBuffer) Write(p []byte) (int, error) {
	select {
	case b.written <- string(bytes.Clone(p)):
	default:
	}
	return len(p), nil
}

// TestClientAddress: X-Forwarded-For counts from the right, and only when a proxy that is
// trusted wrote it; else everybody could choose an address.
func TestClientAddress(t *testing.T) {
	proxies, err := site.ParseProxies("--trusted-proxy", []string{"10.0.0.0/8", "fd00::1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		peer, want string
		forwarded  []string
	}{
		{"192.0.2.1:99", "192.0.2.1", nil},
		{"192.0.2.1:99", "192.0.2.1", []string{"198.51.100.7"}},
		{"10.1.1.1:99", "10.1.1.1", nil},
		{"10.1.1.1:99", "198.51.100.7", []string{"198.51.100.7"}},
		{"10.1.1.1:99", "198.51.100.7", []string{"203.0.113.5, 198.51.100.7"}},
		{"10.1.1.1:99", "198.51.100.7", []string{"203.0.113.5", "198.51.100.7, 10.2.2.2"}},
		{"[fd00::1]:99", "2001:db8::5", []string{"[2001:db8::5]:4711"}},
		{"[::ffff:10.1.1.1]:99", "198.51.100.7", []string{"::ffff:198.51.100.7"}},
		{"10.1.1.1:99", "10.1.1.1", []string{"198.51.100.7, nonsense"}},
		{"10.1.1.1:99", "10.3.3.3", []string{"10.3.3.3"}},
	} {
		request := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-For": c.forwarded}}
		if got := proxies.ClientAddress(request); got != c.want {
			t.Errorf("from %s for %q comes %s, want %s", c.peer, c.forwarded, got, c.want)
		}
		request.Header.Set("X-Forwarded-For", "198.51.100.7")
		if got := site.Proxies(nil).ClientAddress(request); got == "198.51.100.7" {
			t.Errorf("without proxies %s is believed to be another", c.peer)
		}
	}
	for _, text := range []string{"", "proxy", "10.0.0.0/33"} {
		if got, err := site.ParseProxies("--trusted-proxy", []string{text}); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}
