package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/oatmill/oatmill/oat"
)

// process is the backend and its tokens as one process has them, listening on this
// machine. The tour runs two of them in one program; they share the database and
// nothing else.
type process struct {
	*backend
	*tokens
	server  *http.Server
	address string
}

func startProcess(ctx context.Context, url, schema string) (_ *process, err error) {
	p := &process{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.backend, err = openBackend(ctx, url, schema); err != nil {
		return nil, err
	}
	if p.tokens, err = addTokens(ctx, p.backend); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p.address = listener.Addr().String()
	p.server = &http.Server{Handler: p.handler()}
	go func() { _ = p.server.Serve(listener) }() // until close
	return p, nil
}

// handler is the backend's routes with the guards before them.
func (p *process) handler() http.Handler {
	return p.backend.routes(p.tokens.guard(oat.Pull), p.tokens.guard(oat.Push))
}

// close ends first what makes use of the rest.
func (p *process) close() (err error) {
	if p == nil {
		return nil
	}
	if p.server != nil {
		err = p.server.Close()
	}
	if p.tokens != nil {
		err = errors.Join(err, p.tokens.close())
	}
	if p.backend != nil {
		p.backend.close()
	}
	return err
}

// ask sends a request as a client with a token would, and returns the status and the
// body. Without a user it sends no credentials.
func (p *process) ask(ctx context.Context, user string, secret oat.Secret, method, repository, content string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+p.address+"/"+repository, strings.NewReader(content))
	if err != nil {
		return 0, "", err
	}
	if user != "" {
		r.SetBasicAuth(user, secret.Reveal())
	}
	r.Header.Set("User-Agent", "pipeline/1.0")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body), errors.Join(err, answer.Body.Close())
}
