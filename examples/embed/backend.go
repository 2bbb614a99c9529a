package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// backend is what was there before: a small forge with users, organizations, their
// owners, and repositories, in a schema of a PostgreSQL database. Nothing in this file
// knows of tokens. How people sign in is left out, because it stays as it was.
type backend struct {
	pool   *pgxpool.Pool
	schema string
}

const tables = `
CREATE TABLE users (
  name  text PRIMARY KEY,
  email text NOT NULL
);
CREATE TABLE organizations (
  name text PRIMARY KEY,
  plan text NOT NULL
);
CREATE TABLE owners (
  organization text REFERENCES organizations,
  name         text REFERENCES users,
  PRIMARY KEY (organization, name)
);
CREATE TABLE repositories (
  name         text PRIMARY KEY, -- with the organization: "acme/api"
  organization text NOT NULL REFERENCES organizations,
  visibility   text NOT NULL CHECK (visibility IN ('public', 'internal', 'private')),
  content      text NOT NULL DEFAULT ''
);`

// repository is a row of the table, without the content.
type repository struct {
	organization, name string // "acme", "acme/api"
	visibility         string
}

// openBackend connects to the backend's database. The tables are in a schema of their
// own, which every connection looks in.
func openBackend(ctx context.Context, url, schema string) (*backend, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.RuntimeParams["search_path"] = schema
	cfg.PingTimeout = 3 * time.Second // the log asks for one, see pglog.New
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &backend{pool, schema}, nil
}

func (b *backend) insert(ctx context.Context, tx pgx.Tx, r repository) error {
	_, err := tx.Exec(ctx, "INSERT INTO repositories (name, organization, visibility) VALUES ($1, $2, $3)",
		r.name, r.organization, r.visibility)
	return err
}

// visibility is "" for a repository that does not exist.
func (b *backend) visibility(ctx context.Context, name string) (visibility string, err error) {
	err = b.pool.QueryRow(ctx, "SELECT visibility FROM repositories WHERE name = $1", name).Scan(&visibility)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return visibility, err
}

// middleware stands before a handler.
type middleware func(http.Handler) http.Handler

// routes serves the content of repositories to those whom the middleware lets through.
func (b *backend) routes(mayRead, mayWrite middleware) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /{organization}/{repository}", mayRead(http.HandlerFunc(b.read)))
	mux.Handle("PUT /{organization}/{repository}", mayWrite(http.HandlerFunc(b.write)))
	return mux
}

// nameIn is the name of the repository that a request is about.
func nameIn(r *http.Request) string {
	return r.PathValue("organization") + "/" + r.PathValue("repository")
}

func (b *backend) read(w http.ResponseWriter, r *http.Request) {
	var content string
	err := b.pool.QueryRow(r.Context(), "SELECT content FROM repositories WHERE name = $1", nameIn(r)).Scan(&content)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		reply(w, http.StatusNotFound)
	case err != nil:
		reply(w, http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, content)
	}
}

func (b *backend) write(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		reply(w, http.StatusRequestEntityTooLarge)
		return
	}
	done, err := b.pool.Exec(r.Context(), "UPDATE repositories SET content = $2 WHERE name = $1", nameIn(r), string(content))
	switch {
	case err != nil:
		reply(w, http.StatusInternalServerError)
	case done.RowsAffected() == 0:
		reply(w, http.StatusNotFound)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func reply(w http.ResponseWriter, status int) { http.Error(w, http.StatusText(status), status) }

func (b *backend) close() { b.pool.Close() }
