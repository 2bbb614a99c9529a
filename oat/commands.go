package oat

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/quota"
)

// The commands. Each has one method of [Service] that carries it out, and one decide
// method here that says what comes of it: events to record, nothing when there is
// nothing to change, or the error it is refused with. To decide is a pure function
// of the organization's state, the command and the clock.

// Register makes an organization known. The host guards who may call it; when the
// owners are the host's (Config.Owners), Owners stays empty.
type Register struct {
	Organization string
	Plan         string   // a name from Config.Plans, or "" for none
	Owners       []string // at most MaxOwners; more can be added afterwards
}

// ChangePlan moves an organization to another plan. Tokens stay as they are.
type ChangePlan struct {
	Organization string
	Plan         string // a name from Config.Plans, or "" for none
}

// AddOwner makes someone an owner. Adding an owner again changes nothing.
type AddOwner struct {
	Organization string
	Owner        string
}

// RemoveOwner ends someone's ownership. Tokens they generated stay as they are.
type RemoveOwner struct {
	Organization string
	Owner        string
}

// Generate makes a token.
type Generate struct {
	Organization string
	Label        string // required, at most MaxLabel characters once trimmed
	Description  string // optional, at most MaxDescription characters
	Expires      Expiry // in the future, or Never()
	Resources    []Resource
	// Once makes at most one token of the actor's Correlation, which names the
	// request: a request that is repeated because its answer was lost is refused with
	// ErrRepeated, for ever, also when the token was deleted.
	Once bool
}

// Edit changes what is not nil, on an active token.
type Edit struct {
	Organization string
	Token        uuid.UUID
	Label        *string
	Description  *string
	Resources    []Resource // replaces the whole list; nil leaves it
	// Version is the Version of the token that the edit was made on. If the token has
	// changed since, the edit is refused with ErrChanged. 0 edits whatever there is.
	Version events.Version
	// Deactivate also ends the token's use for good, after the changes and together with
	// them: both are recorded or neither.
	Deactivate bool
}

// Deactivate ends an active token's use for good. What is left is to delete it.
type Deactivate struct {
	Organization string
	Token        uuid.UUID
	Version      events.Version // as in [Edit]
}

// Delete removes a token, whatever state it is in.
type Delete struct {
	Organization string
	Token        uuid.UUID
	Version      events.Version // as in [Edit]
}

func (c Register) decide(o *organization, plans quota.Plans, hostOwners bool) ([]events.Payload, error) {
	var problems ValidationErrors
	problems.add("organization", OrganizationProblem(CleanText(c.Organization)))
	problems.add("plan", planProblem(plans, c.Plan))
	if len(c.Owners) == 0 && !hostOwners {
		problems.add("owners", "at least one is required")
	}
	if len(c.Owners) > 0 && hostOwners {
		problems.add("owners", ErrHostOwners.Error())
	}
	if len(c.Owners) > MaxOwners {
		problems.add("owners", fmt.Sprintf("%d are given, at most %d can be registered at once", len(c.Owners), MaxOwners))
		return nil, problems
	}
	var owners []string
	for i, owner := range c.Owners {
		field, owner := fmt.Sprintf("owners[%d]", i), CleanText(owner)
		problems.add(field, UserProblem(owner))
		if slices.Contains(owners, owner) {
			problems.add(field, "is given twice")
		}
		owners = append(owners, owner)
	}
	if err := problems.orNil(); err != nil {
		return nil, err
	}
	if o.head.Version > 0 {
		return nil, ErrExists
	}
	return []events.Payload{&events.OrganizationRegistered{Plan: c.Plan, Owners: owners}}, nil
}

func (c ChangePlan) decide(o *organization, plans quota.Plans) ([]events.Payload, error) {
	if planProblem(plans, c.Plan) != "" {
		return nil, fmt.Errorf("%w %q", ErrUnknownPlan, clip(c.Plan))
	}
	if c.Plan == o.plan {
		return nil, nil
	}
	return []events.Payload{&events.OrganizationPlanChanged{Plan: c.Plan}}, nil
}

func (c AddOwner) decide(o *organization, hostOwners bool) ([]events.Payload, error) {
	if hostOwners {
		return nil, ErrHostOwners
	}
	owner := CleanText(c.Owner)
	var problems ValidationErrors
	problems.add("owner", UserProblem(owner))
	if err := problems.orNil(); err != nil {
		return nil, err
	}
	if _, owns := o.owner(owner); owns {
		return nil, nil
	}
	return []events.Payload{&events.OrganizationOwnerAdded{Owner: owner}}, nil
}

func (c RemoveOwner) decide(o *organization, hostOwners bool) ([]events.Payload, error) {
	recorded, owns := o.owner(CleanText(c.Owner))
	switch {
	case hostOwners:
		return nil, ErrHostOwners
	case !owns:
		return nil, ErrOwnerNotFound
	case len(o.owners) == 1:
		return nil, ErrLastOwner
	}
	return []events.Payload{&events.OrganizationOwnerRemoved{Owner: recorded}}, nil
}

// decide takes the id and the digest that the token gets if it is generated, and the
// actor's correlation.
func (c Generate) decide(o *organization, plans quota.Plans, now time.Time, id uuid.UUID, digest events.Hash, correlation string) ([]events.Payload, error) {
	// Whatever has become of the organization since: the answer to a request that made a
	// token is that token.
	if c.Once && o.made(id) {
		return nil, &RepeatedError{Token: id}
	}
	plan := plans[o.plan]
	if !plan.HasTokens() {
		return nil, fmt.Errorf("%w: %s is on %q", ErrNoTokens, o.name, o.plan)
	}
	label, description := CleanText(c.Label), CleanText(c.Description)
	problems := fieldProblems(&label, &description)
	switch {
	case !c.Expires.chosen:
		problems.add("expires_at", "choose an instant, or never")
	case c.Expires.Reached(now):
		problems.add("expires_at", fmt.Sprintf("%s is not in the future", c.Expires))
	case !c.Expires.recordable():
		problems.add("expires_at", fmt.Sprintf("%s is beyond the year 9999", c.Expires))
	}
	problems = append(problems, resourceProblems(o.name, c.Resources)...)
	if c.Once && correlation == "" {
		problems.add("correlation", "is required for a token that is generated once")
	}
	if err := problems.orNil(); err != nil {
		return nil, err
	}
	if err := plan.Check(len(o.tokens)); err != nil {
		return nil, err
	}
	return []events.Payload{&events.TokenGenerated{
		Token: id.String(), Label: label, Description: description,
		Digest: digest, ExpiresAt: c.Expires.String(), Resources: c.Resources,
	}}, nil
}

func (c Edit) decide(o *organization, now time.Time) ([]events.Payload, error) {
	t, err := o.editable(c.Token, c.Version, now)
	if err != nil {
		return nil, err
	}
	c.Label, c.Description = cleanField(c.Label), cleanField(c.Description)
	problems := fieldProblems(c.Label, c.Description)
	if c.Resources != nil {
		problems = append(problems, resourceProblems(o.name, c.Resources)...)
	}
	if err := problems.orNil(); err != nil {
		return nil, err
	}
	edited := &events.TokenEdited{Token: t.ID.String()}
	if c.Label != nil && *c.Label != t.Label {
		edited.Label = c.Label
	}
	if c.Description != nil && *c.Description != t.Description {
		edited.Description = c.Description
	}
	if c.Resources != nil && !slices.EqualFunc(c.Resources, t.Resources, sameResource) {
		edited.Resources = c.Resources
	}
	var payloads []events.Payload
	if edited.Label != nil || edited.Description != nil || edited.Resources != nil {
		payloads = append(payloads, edited)
	}
	if c.Deactivate {
		payloads = append(payloads, &events.TokenDeactivated{Token: t.ID.String()})
	}
	return payloads, nil
}

func (c Deactivate) decide(o *organization, now time.Time) ([]events.Payload, error) {
	t, err := o.editable(c.Token, c.Version, now)
	if err != nil {
		return nil, err
	}
	return []events.Payload{&events.TokenDeactivated{Token: t.ID.String()}}, nil
}

// decide asks for an inactive token only where requireInactive is set. A token that
// has expired counts as inactive for it, since it could not be deactivated any more.
func (c Delete) decide(o *organization, now time.Time, requireInactive bool) ([]events.Payload, error) {
	t, ok := o.tokens[c.Token]
	switch {
	case !ok:
		return nil, ErrTokenNotFound
	case c.Version != 0 && c.Version != t.Version:
		return nil, ErrChanged
	case requireInactive && t.Active && !t.Expires.Reached(now):
		return nil, ErrActive
	}
	return []events.Payload{&events.TokenDeleted{Token: t.ID.String()}}, nil
}

// editable is the token if it can still be changed (the inactive-only-delete rule) and
// was not changed after seen, where that is not 0.
func (o *organization) editable(id uuid.UUID, seen events.Version, now time.Time) (*Token, error) {
	t, ok := o.tokens[id]
	switch {
	case !ok:
		return nil, ErrTokenNotFound
	case !t.Active:
		return nil, ErrInactive
	case t.Expires.Reached(now):
		return nil, ErrExpired
	case seen != 0 && seen != t.Version:
		return nil, ErrChanged
	}
	return t, nil
}

// owner returns how an owner is recorded, and false for a user who is none. The name is
// cleaned; one that was recorded before there was a rule for names need not be.
func (o *organization) owner(name string) (recorded string, owns bool) {
	i := slices.IndexFunc(o.owners, func(owner string) bool { return CleanText(owner) == name })
	if i < 0 {
		return "", false
	}
	return o.owners[i], true
}

// made tells whether there ever was a token with an id that is made of a request.
func (o *organization) made(id uuid.UUID) bool {
	_, exists := o.tokens[id]
	return exists || o.spent[id]
}

// cleanField returns a text of a command cleaned, nil for one that is not given.
func cleanField(text *string) *string {
	if text == nil {
		return nil
	}
	cleaned := CleanText(*text)
	return &cleaned
}

// fieldProblems checks the texts that are given, which are cleaned.
func fieldProblems(label, description *string) (found ValidationErrors) {
	if label != nil {
		found.add("label", textProblem(*label, 1, MaxLabel))
	}
	if description != nil {
		found.add("description", proseProblem(*description, MaxDescription))
	}
	return found
}

// planProblem knows no plan, "", as well: it has nothing.
func planProblem(plans quota.Plans, name string) string {
	if _, ok := plans[name]; !ok && name != "" {
		return fmt.Sprintf("%q is not a plan", clip(name))
	}
	return ""
}

func sameResource(a, b Resource) bool {
	return a.Type == b.Type && a.Path == b.Path && slices.Equal(a.Scopes, b.Scopes)
}
