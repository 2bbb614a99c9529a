package oat

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/oatmill/oatmill/events"
)

// Authorize returns nil if the actor may manage the organization, as of what the log holds
// now, and otherwise what a command would be refused with, [ErrNotOwner] or
// [ErrOrganizationNotFound]. It is for showing what commands do not show.
//
// A refusal takes as long whether the organization exists or not, as far as its state is in
// memory: of the two, Authorize also looks up one of the other kind.
func (s *Service) Authorize(ctx context.Context, by Actor, organization string) error {
	err := s.manage(ctx, by, organization, confirmed, nil)
	switch {
	case errors.Is(err, ErrNotOwner):
		_ = s.execute(ctx, by, strings.ToLower(rand.Text()), refused, nil)
	case errors.Is(err, ErrOrganizationNotFound):
		if e := s.cache.another(organization); e != nil {
			_ = s.run(ctx, by, e, refused)
			s.cache.settle(e)
			e.unlock()
		}
	}
	return err
}

// confirmed is the decision that there is nothing to do.
func confirmed(*organization, time.Time) ([]events.Payload, error) { return nil, nil }

// refused is the decision that nothing may be done.
func refused(*organization, time.Time) ([]events.Payload, error) { return nil, ErrNotOwner }
