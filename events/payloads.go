package events

import "time"

// The types of events this module writes. The names are for ever: a record that
// carries one is read as the Go type beside it, by every later version.
const (
	TypeOrganizationRegistered   = "organization.registered.v1"
	TypeOrganizationPlanChanged  = "organization.plan_changed.v1"
	TypeOrganizationOwnerAdded   = "organization.owner_added.v1"
	TypeOrganizationOwnerRemoved = "organization.owner_removed.v1"
	TypeTokenGenerated           = "token.generated.v1"
	TypeTokenEdited              = "token.edited.v1"
	TypeTokenDeactivated         = "token.deactivated.v1"
	TypeTokenDeleted             = "token.deleted.v1"
	TypeUsageRecorded            = "usage.recorded.v1"
)

// Payload is what an event says, one of the types of this package. The
// organization an event is about is the name of the stream it stands in; who did
// it, when and why are in its envelope.
//
// Payloads that were decoded are shared between readers and must not be changed.
type Payload interface {
	// EventType is the stable name the payload is recorded under.
	EventType() string
}

// OrganizationRegistered begins the stream of an organization.
type OrganizationRegistered struct {
	Plan   string   `json:"plan"`
	Owners []string `json:"owners"`
}

// OrganizationPlanChanged moves an organization to another plan.
type OrganizationPlanChanged struct {
	Plan string `json:"plan"`
}

// OrganizationOwnerAdded makes someone an owner.
type OrganizationOwnerAdded struct {
	Owner string `json:"owner"`
}

// OrganizationOwnerRemoved ends someone's ownership. Tokens are not touched by it.
type OrganizationOwnerRemoved struct {
	Owner string `json:"owner"`
}

// TokenGenerated is a new token. Who generated it and when are the envelope's
// actor and time.
type TokenGenerated struct {
	Token       string `json:"token"` // UUID
	Label       string `json:"label"`
	Description string `json:"description,omitempty"`
	// Digest is the SHA-256 of the secret; the secret itself is nowhere.
	Digest Hash `json:"digest"`
	// ExpiresAt is an RFC 3339 instant, exactly as it was asked for. Absent means
	// that the token never expires.
	ExpiresAt string     `json:"expires_at,omitempty"`
	Resources []Resource `json:"resources"`
}

// TokenEdited carries only what changed; what is absent stayed as it was.
type TokenEdited struct {
	Token       string     `json:"token"`
	Label       *string    `json:"label,omitempty"`
	Description *string    `json:"description,omitempty"`
	Resources   []Resource `json:"resources,omitzero"` // replaces the whole list
}

// TokenDeactivated ends a token's use. There is no way back.
type TokenDeactivated struct {
	Token string `json:"token"`
}

// TokenDeleted ends a token. It no longer counts against the limit.
type TokenDeleted struct {
	Token string `json:"token"`
}

// Resource is one line of what a token may reach, exactly as it was granted.
type Resource struct {
	Type   string   `json:"type"`   // "TYPE_REPO"
	Path   string   `json:"path"`   // "ORG/REPO", "ORG/*" or "*/*/public"
	Scopes []string `json:"scopes"` // "scope-image-pull", "scope-image-push"
}

// UsageRecorded says how tokens of an organization were used since the event
// before it. Several processes record side by side; readers add counts up and take
// the earliest and latest of times.
type UsageRecorded struct {
	Uses []Use `json:"uses"`
}

// Use is the use of one token in one interval.
type Use struct {
	Token    string   `json:"token"`
	Accepted *UseSpan `json:"accepted,omitempty"` // absent when there was none
	Refused  *UseSpan `json:"refused,omitempty"`  // with the right secret, and yet refused
}

// UseSpan sums up attempts of one outcome.
type UseSpan struct {
	First     time.Time `json:"first"` // UTC, whole microseconds
	Last      time.Time `json:"last"`
	Count     int64     `json:"count"`
	Cause     string    `json:"cause,omitempty"`      // of the last refusal
	Address   string    `json:"address,omitempty"`    // of the last attempt
	UserAgent string    `json:"user_agent,omitempty"` // of the last attempt
}

func (*OrganizationRegistered) EventType() string   { return TypeOrganizationRegistered }
func (*OrganizationPlanChanged) EventType() string  { return TypeOrganizationPlanChanged }
func (*OrganizationOwnerAdded) EventType() string   { return TypeOrganizationOwnerAdded }
func (*OrganizationOwnerRemoved) EventType() string { return TypeOrganizationOwnerRemoved }
func (*TokenGenerated) EventType() string           { return TypeTokenGenerated }
func (*TokenEdited) EventType() string              { return TypeTokenEdited }
func (*TokenDeactivated) EventType() string         { return TypeTokenDeactivated }
func (*TokenDeleted) EventType() string             { return TypeTokenDeleted }
func (*UsageRecorded) EventType() string            { return TypeUsageRecorded }

// newPayload is an empty payload of the named type, nil for an unknown name.
func newPayload(eventType string) Payload {
	switch eventType {
	case TypeOrganizationRegistered:
		return new(OrganizationRegistered)
	case TypeOrganizationPlanChanged:
		return new(OrganizationPlanChanged)
	case TypeOrganizationOwnerAdded:
		return new(OrganizationOwnerAdded)
	case TypeOrganizationOwnerRemoved:
		return new(OrganizationOwnerRemoved)
	case TypeTokenGenerated:
		return new(TokenGenerated)
	case TypeTokenEdited:
		return new(TokenEdited)
	case TypeTokenDeactivated:
		return new(TokenDeactivated)
	case TypeTokenDeleted:
		return new(TokenDeleted)
	case TypeUsageRecorded:
		return new(UsageRecorded)
	}
	return nil
}
