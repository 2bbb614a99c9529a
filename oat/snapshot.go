package oat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// A snapshot saves reading an organization's whole stream when a process sees it for
// the first time. It holds the folded state as JSON behind the SHA-256 of that JSON.
// It is used only if the log still holds the record it was made at, unchanged.

const (
	snapshotFormat = "oatmill.organization.v3"
	// snapshotEvery is how many events a stream grows by between snapshots; large
	// organizations wait longer, so that writing them stays a small part of the work.
	snapshotEvery = 500
)

type organizationSnapshot struct {
	Plan   string          `json:"plan"`
	Owners []string        `json:"owners"`
	Tokens []tokenSnapshot `json:"tokens"`
	Spent  []uuid.UUID     `json:"spent,omitempty"`
}

type tokenSnapshot struct {
	ID          string         `json:"id"`
	Label       string         `json:"label"`
	Description string         `json:"description,omitempty"`
	CreatedBy   string         `json:"created_by"`
	CreatedAt   time.Time      `json:"created_at"`
	ExpiresAt   string         `json:"expires_at,omitempty"`
	Resources   []Resource     `json:"resources"`
	Active      bool           `json:"active"`
	Version     events.Version `json:"version"`
	Correlation string         `json:"correlation,omitempty"`
}

// saveSnapshot keeps the entry's state beside the log now and then. Its failure
// hurts nobody but the next process to start.
func (s *Service) saveSnapshot(ctx context.Context, e *entry) {
	log, ok := s.cfg.Log.(events.Snapshots)
	if !ok || e.state.version < e.snapshot+max(snapshotEvery, events.Version(len(e.state.tokens))) {
		return
	}
	data, err := e.state.encode()
	if err == nil {
		head := events.Head{Version: e.state.version, Hash: e.state.last.Hash()}
		err = log.SaveSnapshot(ctx, events.OrganizationStream(e.name), events.Snapshot{Head: head, Format: snapshotFormat, Data: data})
	}
	// Also after an error: the next try comes after as many events again.
	e.snapshot = e.state.version
	if err != nil {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "snapshot not saved", slog.String("organization", e.name), slog.Any("cause", err))
	}
}

// loadSnapshot is the state to begin with: from a snapshot if there is one to be
// trusted, and otherwise nothing.
func (s *Service) loadSnapshot(ctx context.Context, e *entry) *organization {
	state := newOrganization(e.name)
	if log, ok := s.cfg.Log.(events.Snapshots); ok {
		snapshot, err := log.LoadSnapshot(ctx, events.OrganizationStream(e.name))
		if err == nil && snapshot.Head.Version > 0 {
			var restored *organization
			if restored, err = s.restore(ctx, e.name, snapshot); err == nil {
				state = restored
			}
		}
		if err != nil {
			s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "snapshot not used", slog.String("organization", e.name), slog.Any("cause", err))
		}
	}
	e.snapshot = state.version
	return state
}

func (s *Service) restore(ctx context.Context, name string, snapshot events.Snapshot) (*organization, error) {
	if snapshot.Format != snapshotFormat {
		return nil, fmt.Errorf("format %q is not known", clip(snapshot.Format))
	}
	o := newOrganization(name)
	if err := o.decode(snapshot.Data); err != nil {
		return nil, err
	}
	for r, err := range s.cfg.Log.ReadStream(ctx, events.OrganizationStream(name), snapshot.Head.Version-1) {
		switch {
		case err != nil:
			return nil, err
		case r.Version != snapshot.Head.Version || r.Hash() != snapshot.Head.Hash:
			return nil, fmt.Errorf("version %d is not the record it was made at", r.Version)
		}
		o.version, o.last = r.Version, r
		return o, nil
	}
	return nil, fmt.Errorf("the log does not hold version %d", snapshot.Head.Version)
}

func (o *organization) encode() ([]byte, error) {
	state := organizationSnapshot{Plan: o.plan, Owners: o.owners, Tokens: make([]tokenSnapshot, 0, len(o.tokens)), Spent: slices.Collect(maps.Keys(o.spent))}
	for id, t := range o.tokens {
		state.Tokens = append(state.Tokens, tokenSnapshot{
			ID: id.String(), Label: t.Label, Description: t.Description, CreatedBy: t.CreatedBy, CreatedAt: t.CreatedAt,
			ExpiresAt: t.Expires.String(), Resources: t.Resources, Active: t.Active,
			Version: t.Version, Correlation: t.Correlation,
		})
	}
	data, err := json.Marshal(state)
	if err != nil {
		return nil, err
	}
	if sha256.Size+len(data) > events.MaxSnapshotSize {
		return nil, fmt.Errorf("%d bytes are too large", len(data))
	}
	sum := sha256.Sum256(data)
	return append(sum[:], data...), nil
}

func (o *organization) decode(data []byte) error {
	if len(data) < sha256.Size {
		return errors.New("cut short")
	}
	sum, data := data[:sha256.Size], data[sha256.Size:]
	if want := sha256.Sum256(data); !bytes.Equal(sum, want[:]) {
		return errors.New("damaged")
	}
	var state organizationSnapshot
	if err := json.Unmarshal(data, &state); err != nil {
		return err
	}
	o.plan, o.owners = state.Plan, state.Owners
	for _, id := range state.Spent {
		o.spent[id] = true
	}
	for _, t := range state.Tokens {
		id, err := ParseTokenID(t.ID)
		if err != nil {
			return err
		}
		expires, err := recordedExpiry(t.ExpiresAt)
		if err != nil {
			return err
		}
		o.tokens[id] = &Token{
			ID: id, Organization: o.name, Label: t.Label, Description: t.Description, CreatedBy: t.CreatedBy,
			CreatedAt: t.CreatedAt, Expires: expires, Resources: t.Resources, Active: t.Active,
			Version: t.Version, Correlation: t.Correlation,
		}
	}
	return nil
}
