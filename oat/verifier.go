package oat

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/quota"
)

// DefaultMaxStaleness is how long a verifier answers without having seen the end of
// the log.
const DefaultMaxStaleness = 10 * time.Second

// neverConfirmed is a time longer ago than any other. It is not 0, because clocks of machines
// that do not know the time begin there.
const neverConfirmed = math.MinInt64

// VerifierConfig is what a [Verifier] needs. The zero config works.
type VerifierConfig struct {
	// Plans are the plans there are, the same as the service's. Nil means
	// [quota.Docker].
	Plans quota.Plans
	// MaxStaleness is how long after it last saw the end of the log the verifier
	// still answers. 0 means [DefaultMaxStaleness].
	MaxStaleness time.Duration
	// UnsupportedServices are names of services, in lower case, that tokens are
	// not for. Nil means [DockerServices].
	UnsupportedServices []string
	// Recorder, when set, is told of every use of a known secret.
	Recorder *Recorder
	// Now is the clock, the same as that of whoever confirms. Nil means the machine's.
	Now func() time.Time
	// Logger receives every refusal with its cause: at level Info for known tokens, at
	// Debug for others. They are logged shortly after, so that how long a request takes
	// does not depend on it; see FlushLog. Nil means silence.
	Logger *slog.Logger
}

// DockerServices are the services that Docker's page names as incompatible with
// organization access tokens.
func DockerServices() []string {
	return []string{"docker-desktop", "docker-build-cloud", "docker-scout", "docker-rest-api"}
}

// Attempt is somebody's try to authenticate.
type Attempt struct {
	// Organization is the user name that was given. It is compared as it is: a client sends
	// it, and nobody typed it here.
	Organization string
	// Secret is the password that was given, wrapped with [NewSecret].
	Secret Secret
	// Service is the service the attempt is for, where the host can tell.
	Service string
	// Address and UserAgent are recorded with the use. The address is the peer's as
	// the host knows it, never what a header claims, unless a proxy the host trusts
	// wrote it.
	Address   string
	UserAgent string
}

// Recheck asks [Verifier.Recheck] about a token that was verified before.
type Recheck struct {
	// Organization is the organization that the token was verified for.
	Organization string
	// Token is the token's id.
	Token uuid.UUID
	// Address and UserAgent are recorded with a refusal, see [Attempt].
	Address   string
	UserAgent string
}

// Verifier answers whether a secret opens. It is the one door: whatever accepts
// tokens asks it, every time, and keeps no answer.
//
// It folds what it knows from the log, and is fed through [Verifier.Apply] and
// [Verifier.Confirm], usually by a projection.Runner, and beside that by the
// [Service] of its own process. It is safe for concurrent use.
type Verifier struct {
	cfg         VerifierConfig
	unsupported map[string]bool
	clock       clock
	confirmed   atomic.Int64 // nanoseconds since 1970, or neverConfirmed
	followDelay atomic.Int64 // nanoseconds

	digests table
	tokens  table

	refusals refusals

	mu       sync.Mutex // for all that follows, and for changing the tables
	tenants  map[string]*tenant
	closed   map[*tenant]*closure
	ahead    map[*tenant]bool // those with records that the log may not have brought yet
	position events.Position  // up to which the log was followed
	followed events.Mark      // of the record at position
	appended events.Mark      // of the newest record of this process's commands
}

// tenant is what the verifier knows of one organization. It takes one line of a
// processor's cache, and with a name that is not long, Verify needs no other.
type tenant struct {
	name  string
	short [16]byte // name, if it fits
	plan  atomic.Pointer[string]
	// open is false while no token of the organization opens: its plan has none, the
	// verifier knows that it has not caught up with the stream, or the stream does not
	// continue what the verifier knows.
	open atomic.Bool

	// Guarded by Verifier.mu:
	chain *chain
}

func newTenant(name string) *tenant {
	t := &tenant{name: strings.Clone(name), chain: new(chain)}
	copy(t.short[:], name)
	return t
}

// is tells whether the organization has that name.
func (t *tenant) is(name string) bool {
	if len(name) != len(t.name) || len(name) > len(t.short) {
		return name == t.name
	}
	return name == string(t.short[:len(name)])
}

// NewVerifier is a verifier that knows nothing yet, and refuses until it was
// confirmed once.
func NewVerifier(cfg VerifierConfig) *Verifier {
	if cfg.Plans == nil {
		cfg.Plans = quota.Docker()
	}
	if cfg.MaxStaleness <= 0 {
		cfg.MaxStaleness = DefaultMaxStaleness
	}
	if cfg.UnsupportedServices == nil {
		cfg.UnsupportedServices = DockerServices()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	v := &Verifier{cfg: cfg, unsupported: make(map[string]bool), clock: clock{now: cfg.Now}}
	for _, service := range cfg.UnsupportedServices {
		v.unsupported[strings.ToLower(service)] = true
	}
	v.clear()
	v.clock.set()
	return v
}

// clear makes the verifier one that knows nothing and refuses.
func (v *Verifier) clear() {
	v.confirmed.Store(neverConfirmed)
	v.digests.init(func(c *credential) uint64 { return digestHash(&c.digest) })
	v.tokens.init(func(c *credential) uint64 { return tokenHash(&c.token) })
	v.tenants, v.closed, v.ahead = make(map[string]*tenant), make(map[*tenant]*closure), make(map[*tenant]bool)
	v.position, v.followed, v.appended = 0, events.Mark{}, events.Mark{}
}

// Verify tells what the attempt opens. The error is [ErrUnsupportedService] for a
// service that tokens are not for, [ErrStale] when the verifier is not sure to know
// every revocation, and in every other case [ErrRefused], which says nothing of the
// cause: the cause is logged, and recorded where the secret is a known one.
//
// A text that does not have the form of a secret is refused before anything is
// looked up. Otherwise the work is the same whether or not the organization exists.
func (v *Verifier) Verify(ctx context.Context, a Attempt) (Grant, error) {
	if a.Service != "" && v.unsupported[strings.ToLower(a.Service)] {
		v.logRefusal(ctx, slog.LevelDebug, causeService, &a, uuid.Nil)
		return Grant{}, ErrUnsupportedService
	}
	secret := a.Secret.bytes()
	if !checksumFits(secret) {
		v.logRefusal(ctx, slog.LevelDebug, causeMalformed, &a, uuid.Nil)
		return Grant{}, ErrRefused
	}
	// Before the digest, because a processor finishes what is under way, like the
	// look-up of another caller, before it reads its clock.
	now, fresh := v.fresh()
	if !fresh {
		v.logRefusal(ctx, slog.LevelWarn, causeStale, &a, uuid.Nil)
		return Grant{}, ErrStale
	}
	digest := events.Hash(sha256.Sum256(secret))
	c := v.digests.byDigest(&digest)
	if c == nil {
		v.logRefusal(ctx, slog.LevelDebug, causeUnknown, &a, uuid.Nil)
		return Grant{}, ErrRefused
	}
	cause := c.refuses(a.Organization, now)
	if v.cfg.Recorder != nil {
		v.cfg.Recorder.Record(Use{
			Organization: c.tenant.name, Token: c.token, At: time.Unix(0, now),
			Cause: cause, Address: a.Address, UserAgent: a.UserAgent,
		})
	}
	if cause != "" {
		v.logRefusal(ctx, slog.LevelInfo, cause, &a, c.token)
		return Grant{}, ErrRefused
	}
	return Grant{c: c}, nil
}

// Recheck returns what a token opens now, for a caller that has proof of an earlier successful
// [Verifier.Verify] of this token, such as a signed registry token. It refuses as Verify does, and
// records its refusals as Verify does. A token that still opens is not recorded: Verify recorded
// that use.
func (v *Verifier) Recheck(ctx context.Context, r Recheck) (Grant, error) {
	now, fresh := v.fresh()
	a := Attempt{Organization: r.Organization, Address: r.Address, UserAgent: r.UserAgent}
	if !fresh {
		v.logRefusal(ctx, slog.LevelWarn, causeStale, &a, r.Token)
		return Grant{}, ErrStale
	}
	c, cause := v.tokens.byToken(&r.Token), causeUnknown
	if c != nil {
		cause = c.refuses(r.Organization, now)
	}
	if cause == "" {
		return Grant{c: c}, nil
	}
	if c != nil && v.cfg.Recorder != nil {
		v.cfg.Recorder.Record(Use{
			Organization: c.tenant.name, Token: c.token, At: time.Unix(0, now),
			Cause: cause, Address: r.Address, UserAgent: r.UserAgent,
		})
	}
	v.logRefusal(ctx, slog.LevelInfo, cause, &a, r.Token)
	return Grant{}, ErrRefused
}

// The causes of refusals, as they are logged and recorded.
const (
	causeService      = "service"      // the service does not take tokens
	causeMalformed    = "malformed"    // not the form of a secret
	causeStale        = "stale"        // the verifier is not up to date
	causeUnknown      = "unknown"      // no token has this secret
	causeOrganization = "organization" // the user name is not the token's organization
	causeInactive     = "inactive"     // the token was deactivated
	causeExpired      = "expired"      // the token has expired
	causePlan         = "plan"         // the organization's plan has no tokens, or its stream was not followed or is damaged
)

// refuses is why the credential does not open for the organization at now, "" when it
// does.
func (c *credential) refuses(organization string, now int64) string {
	switch {
	case !c.tenant.is(organization):
		return causeOrganization
	case !c.active:
		return causeInactive
	case now >= c.expires:
		return causeExpired
	case !c.tenant.open.Load():
		return causePlan
	}
	return ""
}

// fresh is the time, and whether the end of the log was seen recently enough before
// it. A clock that went back makes the verifier unsure until the next confirmation.
func (v *Verifier) fresh() (int64, bool) {
	// In this order: a confirmation that comes in between must not look as if it
	// came from the future, which as an unsigned age is far too old.
	confirmed := v.confirmed.Load()
	now := v.clock.read()
	return now, uint64(now-confirmed) <= uint64(v.cfg.MaxStaleness)
}

// VerifierStatus is how a verifier stands.
type VerifierStatus struct {
	Position  events.Position // up to which it knows the log
	Confirmed time.Time       // when it last knew the log to its end; zero for never
	Stale     bool            // whether it refuses everyone
	// FollowDelay is from the time of the newest event it was fed to its arrival. After
	// a start it is the age of the last event before, and until another comes it stays.
	FollowDelay   time.Duration
	Credentials   int // tokens it knows
	Organizations int
	// Closed are the organizations of which nothing opens, because their records in the log
	// are not the ones that were appended, by name.
	Closed []ClosedOrganization
}

// ClosedOrganization says since when nothing of an organization opens, and why.
type ClosedOrganization struct {
	Organization string
	Problem      string // names the stream and the version
	Since        time.Time
}

// Status is for health checks and metrics.
func (v *Verifier) Status() VerifierStatus {
	_, fresh := v.fresh()
	v.mu.Lock()
	defer v.mu.Unlock()
	status := VerifierStatus{
		Position: v.position, Stale: !fresh, FollowDelay: time.Duration(v.followDelay.Load()),
		Credentials: v.digests.live, Organizations: len(v.tenants),
	}
	if at := v.confirmed.Load(); at != neverConfirmed {
		status.Confirmed = time.Unix(0, at)
	}
	for t, c := range v.closed {
		status.Closed = append(status.Closed, ClosedOrganization{Organization: t.name, Problem: c.problem.Error(), Since: c.since})
	}
	slices.SortFunc(status.Closed, func(a, b ClosedOrganization) int { return strings.Compare(a.Organization, b.Organization) })
	return status
}
