package oat

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/quota"
)

// Config is what a [Service] needs. Only Log is required.
type Config struct {
	// Log holds every organization's stream. Required.
	Log events.Log
	// Plans are the plans there are. Nil means [quota.Docker].
	Plans quota.Plans
	// Owners tells who owns an organization, where the host knows that itself.
	// Nil means that owners are recorded in the log, with Register, AddOwner and
	// RemoveOwner.
	Owners Owners
	// Verifier, when set, knows of every command of this service before the
	// command returns. It must have been made with the same Plans.
	Verifier *Verifier
	// Prefix begins the secrets of new tokens: at most 20 letters, digits, _ and -.
	// "" means [DefaultPrefix].
	Prefix string
	// RequireInactiveToDelete demands that a token be deactivated, or have expired,
	// before it is deleted.
	RequireInactiveToDelete bool
	// Now is the clock. Nil means [time.Now].
	Now func() time.Time
	// Rand is where secrets and ids come from. Nil means crypto/rand.
	Rand io.Reader
	// Logger receives warnings about conflicts, and about state that does not agree with
	// the log. nil discards them.
	Logger *slog.Logger
	// CacheSize is how many organizations are kept folded in memory. 0 means
	// 10,000. One that is not kept is read from the log again.
	CacheSize int
}

// Owners is a host's own answer to who owns an organization.
type Owners interface {
	// IsOwner tells whether user owns organization. It is asked before every
	// command of a user, outside any transaction. An error refuses the command
	// and is returned to its caller.
	//
	// While a transaction of the host holds a connection it must not need another one
	// of the same pool, or as many transactions as the pool has connections wait for
	// each other for ever: give [Service.Within] Owners that ask the transaction.
	IsOwner(ctx context.Context, organization, user string) (bool, error)
}

// Service carries out commands. It is safe for concurrent use, and any number of
// services may work on one log, in one process or in many.
//
// Each method names what its command is refused with. Beside that, every command can
// be refused with [ErrInvalid] for an actor that is malformed and with [ErrBusy], and
// can end with [events.ErrUnknownOutcome] or another error of the log.
type Service struct {
	cfg    Config
	random *lockedReader
	cache  *cache
	outer  *Service // of a service within a transaction: the one it was made of
}

// New is a service over cfg.Log. The error says what is wrong with cfg.
func New(cfg Config) (*Service, error) {
	if cfg.Log == nil {
		return nil, errors.New("new service: Config.Log is required")
	}
	if cfg.Plans == nil {
		cfg.Plans = quota.Docker()
	}
	if cfg.Verifier != nil && !maps.Equal(cfg.Plans, cfg.Verifier.cfg.Plans) {
		return nil, errors.New("new service: Config.Verifier was made with other plans than Config.Plans")
	}
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	if problem := prefixProblem(cfg.Prefix); problem != "" {
		return nil, fmt.Errorf("new service: Config.Prefix %s", problem)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.CacheSize <= 0 {
		cfg.CacheSize = 10_000
	}
	return &Service{cfg: cfg, random: &lockedReader{r: cfg.Rand}, cache: newCache(cfg.CacheSize)}, nil
}

// Within is the service for commands inside a transaction of the host: they are decided
// on and appended through log, a view of this service's log from inside the transaction,
// like the one of pglog.Log.Tx. It is for one transaction and one goroutine, and ends
// with it.
//
// Where the service asks the host who owns an organization (Config.Owners), owners is
// that answer from inside the transaction: it sees what the transaction has changed, and
// needs no second connection while the transaction holds one. Nil asks Config.Owners as
// before.
//
// What a command appends holds once the host has committed, and never if it rolls back.
// The verifier therefore does not know of it before its runner has followed the log
// there, which a projection.Runner's WaitFor waits for; a secret must not be handed out
// before the commit, and is lost with a process that ends after it. In between, this
// service's other commands wait for the log as long as the transaction holds it.
func (s *Service) Within(log events.Log, owners Owners) *Service {
	inner := &Service{cfg: s.cfg, random: s.random, cache: newCache(s.cfg.CacheSize), outer: s}
	inner.cfg.Log, inner.cfg.Verifier = log, nil
	if owners != nil && s.cfg.Owners != nil {
		inner.cfg.Owners = owners
	}
	return inner
}

// Register makes an organization known. Refused with [ErrExists] and [ErrInvalid].
func (s *Service) Register(ctx context.Context, by Actor, cmd Register) error {
	by = by.clean()
	if err := by.problems().orNil(); err != nil {
		return err
	}
	return s.execute(ctx, by, CleanText(cmd.Organization), func(o *organization, _ time.Time) ([]events.Payload, error) {
		return cmd.decide(o, s.cfg.Plans, s.cfg.Owners != nil)
	}, nil)
}

// ChangePlan moves an organization to another plan. Refused with [ErrUnknownPlan],
// [ErrNotOwner] and [ErrOrganizationNotFound].
func (s *Service) ChangePlan(ctx context.Context, by Actor, cmd ChangePlan) error {
	return s.manage(ctx, by, cmd.Organization, func(o *organization, _ time.Time) ([]events.Payload, error) {
		return cmd.decide(o, s.cfg.Plans)
	}, nil)
}

// AddOwner makes someone an owner. Refused with [ErrInvalid], [ErrNotOwner],
// [ErrOrganizationNotFound] and [ErrHostOwners].
func (s *Service) AddOwner(ctx context.Context, by Actor, cmd AddOwner) error {
	return s.manage(ctx, by, cmd.Organization, func(o *organization, _ time.Time) ([]events.Payload, error) {
		return cmd.decide(o, s.cfg.Owners != nil)
	}, nil)
}

// RemoveOwner ends someone's ownership. Refused with [ErrLastOwner],
// [ErrOwnerNotFound], [ErrNotOwner], [ErrOrganizationNotFound] and [ErrHostOwners].
func (s *Service) RemoveOwner(ctx context.Context, by Actor, cmd RemoveOwner) error {
	return s.manage(ctx, by, cmd.Organization, func(o *organization, _ time.Time) ([]events.Payload, error) {
		return cmd.decide(o, s.cfg.Owners != nil)
	}, nil)
}

// Generate makes a token and returns it with its secret, which nobody can get
// again. Refused with [ErrInvalid], [ErrNoTokens], [quota.ErrExceeded],
// [ErrNotOwner], [ErrOrganizationNotFound] and, where Generate.Once is set,
// [ErrRepeated].
//
// An error that is [events.ErrUnknownOutcome] leaves open whether there is such a
// token now. Its secret is lost in any case; a token that nobody holds can be found
// by its label and deleted.
func (s *Service) Generate(ctx context.Context, by Actor, cmd Generate) (Token, Secret, error) {
	id, err := s.tokenID(by, cmd)
	if err != nil {
		return Token{}, Secret{}, fmt.Errorf("generate token: id: %w", err)
	}
	secret, err := generateSecret(s.random, s.cfg.Prefix)
	if err != nil {
		return Token{}, Secret{}, err
	}
	var token Token
	err = s.manage(ctx, by, cmd.Organization, func(o *organization, now time.Time) ([]events.Payload, error) {
		return cmd.decide(o, s.cfg.Plans, now, id, secret.digest(), by.Correlation)
	}, func(o *organization) { token = o.tokens[id].clone() })
	if err != nil {
		return Token{}, Secret{}, err
	}
	return token, secret, nil
}

// tokenID is random, except for a token that is generated once. That one's is made of
// the request, so that the request is known for ever by the id, also when the token is
// gone.
func (s *Service) tokenID(by Actor, cmd Generate) (uuid.UUID, error) {
	if !cmd.Once {
		return uuid.NewRandomFromReader(s.random)
	}
	request := fmt.Appendf(nil, "generate once %q %q", CleanText(cmd.Organization), by.Correlation)
	return uuid.NewHash(sha256.New(), uuid.Nil, request, derivedID), nil
}

// derivedID is the version of UUIDs that are made of something by rules of one's own.
// Random ones have another.
const derivedID = 8

// Edit changes a token's label, description or access, and returns the token as it
// is then. Refused with [ErrInvalid], [ErrInactive], [ErrExpired],
// [ErrTokenNotFound], [ErrNotOwner], [ErrOrganizationNotFound] and, where Edit.Version
// is set, [ErrChanged].
func (s *Service) Edit(ctx context.Context, by Actor, cmd Edit) (Token, error) {
	var token Token
	err := s.manage(ctx, by, cmd.Organization, func(o *organization, now time.Time) ([]events.Payload, error) {
		return cmd.decide(o, now)
	}, func(o *organization) { token = o.tokens[cmd.Token].clone() })
	return token, err
}

// Deactivate ends a token's use for good. Refused with [ErrInactive], [ErrExpired],
// [ErrTokenNotFound], [ErrNotOwner], [ErrOrganizationNotFound] and, where
// Deactivate.Version is set, [ErrChanged].
func (s *Service) Deactivate(ctx context.Context, by Actor, cmd Deactivate) error {
	return s.manage(ctx, by, cmd.Organization, func(o *organization, now time.Time) ([]events.Payload, error) {
		return cmd.decide(o, now)
	}, nil)
}

// Delete removes a token. Refused with [ErrTokenNotFound], [ErrNotOwner],
// [ErrOrganizationNotFound], where Config.RequireInactiveToDelete is set [ErrActive],
// and where Delete.Version is set [ErrChanged].
func (s *Service) Delete(ctx context.Context, by Actor, cmd Delete) error {
	return s.manage(ctx, by, cmd.Organization, func(o *organization, now time.Time) ([]events.Payload, error) {
		return cmd.decide(o, now, s.cfg.RequireInactiveToDelete)
	}, nil)
}

// manage carries out a command on an organization that must exist, for an actor who
// must be allowed to manage it. Someone who is not learns nothing else.
func (s *Service) manage(ctx context.Context, by Actor, name string, decide decision, done func(*organization)) error {
	by, name = by.clean(), CleanText(name)
	if err := by.problems().orNil(); err != nil {
		return err
	}
	hostAllows, err := s.hostAllows(ctx, by, name)
	if err != nil {
		return err
	}
	return s.execute(ctx, by, name, func(o *organization, now time.Time) ([]events.Payload, error) {
		_, owns := o.owner(by.User)
		switch {
		case o.head.Version == 0:
			return nil, ErrOrganizationNotFound
		case hostAllows:
		case s.cfg.Owners != nil || !owns:
			return nil, ErrNotOwner
		}
		return decide(o, now)
	}, done)
}

// hostAllows tells whether the actor may manage the organization whatever the log
// says of its owners.
func (s *Service) hostAllows(ctx context.Context, by Actor, name string) (bool, error) {
	if by.Host != "" || s.cfg.Owners == nil {
		return by.Host != "", nil
	}
	is, err := s.cfg.Owners.IsOwner(ctx, name, by.User)
	if err != nil {
		return false, fmt.Errorf("ask who owns %s: %w", clip(name), err)
	}
	return is, nil
}

// lockedReader lets any reader be used from many goroutines.
type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}
