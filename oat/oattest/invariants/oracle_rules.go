package invariants

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// rules is what a host has configured.
type rules struct {
	limits          map[string]int  // tokens by plan
	requireInactive bool            // before a token is deleted
	hostOwners      map[string]bool // "acme/alice"; nil when owners are in the log
}

// command is one of package oat's commands, given by somebody.
type command struct {
	org    string
	by     oat.Actor
	what   any
	expiry expiry // of an oat.Generate
}

// expiry is what the expiry of an oat.Generate should be.
type expiry struct {
	chosen bool
	text   string // as it is to be recorded, "" for never
}

// verdict is what should come of a command on one state at one moment.
type verdict struct {
	// refusals are the reasons there are to refuse it. Any of them will do, and
	// when there are none the command must be carried out.
	refusals []error
	// fields are what a refusal as invalid must name.
	fields []string
	// event and data are what is to be recorded; no event when nothing changes.
	event string
	data  map[string]any
	// count and limit are what a refusal for the quota must say.
	count, limit int
}

// reasons are all errors a command can be refused with.
func reasons() []error {
	return []error{
		oat.ErrInvalid, oat.ErrNotOwner, oat.ErrOrganizationNotFound, oat.ErrTokenNotFound, oat.ErrOwnerNotFound, oat.ErrExists,
		oat.ErrLastOwner, oat.ErrHostOwners, oat.ErrUnknownPlan, oat.ErrNoTokens, oat.ErrInactive, oat.ErrExpired, oat.ErrActive, oat.ErrChanged, quota.ErrExceeded,
	}
}

func refused(reasons ...error) verdict { return verdict{refusals: reasons} }
func invalid(fields []string) verdict {
	return verdict{refusals: []error{oat.ErrInvalid}, fields: fields}
}
func (v *verdict) refuse(because error) { v.refusals = append(v.refusals, because) }
func (v *verdict) refuseIf(is bool, because error) {
	if is {
		v.refuse(because)
	}
}

func (v *verdict) refuseFields(fields []string) {
	v.refuseIf(len(fields) > 0, oat.ErrInvalid)
	v.fields = fields
}

// judge is the verdict on a command. Whoever may not give a command learns nothing
// else, which is why these refusals stand alone.
func (r *rules) judge(s state, c command, now time.Time) verdict {
	c.by = cleanedActor(c.by)
	if fields := actorFields(c.by); len(fields) > 0 {
		return invalid(fields)
	}
	if cmd, ok := c.what.(oat.Register); ok {
		return r.register(s, cmd)
	}
	switch {
	case !s.registered:
		return refused(oat.ErrOrganizationNotFound)
	case !r.mayManage(s, c):
		return refused(oat.ErrNotOwner)
	}
	switch cmd := c.what.(type) {
	case oat.ChangePlan:
		return r.changePlan(s, cmd)
	case oat.AddOwner:
		return r.addOwner(s, cmd)
	case oat.RemoveOwner:
		return r.removeOwner(s, cmd)
	case oat.Generate:
		return r.generate(s, cmd, c.expiry, now)
	case oat.Edit:
		return edit(s, cmd, now)
	case oat.Deactivate:
		k, exists := s.tokens[cmd.Token.String()]
		return onToken(k, exists, cmd.Version, now, "token.deactivated.v1")
	case oat.Delete:
		return r.delete(s, cmd, now)
	}
	panic(fmt.Sprintf("no rules for %T", c.what))
}

func (r *rules) mayManage(s state, c command) bool {
	switch {
	case c.by.Host != "":
		return true
	case r.hostOwners != nil:
		return r.hostOwners[c.org+"/"+c.by.User]
	}
	return slices.Contains(s.owners, c.by.User)
}

func (r *rules) knows(plan string) bool {
	_, ok := r.limits[plan]
	return ok || plan == ""
}

func (r *rules) register(s state, cmd oat.Register) verdict {
	var fields []string
	if !isOrganization(cmd.Organization) {
		fields = append(fields, "organization")
	}
	if !r.knows(cmd.Plan) {
		fields = append(fields, "plan")
	}
	if (len(cmd.Owners) == 0) != (r.hostOwners != nil) {
		fields = append(fields, "owners")
	}
	owners := slices.Clone(cmd.Owners)
	for i, owner := range owners {
		owners[i] = cleaned(owner)
		if !isUser(owners[i]) || slices.Contains(owners[:i], owners[i]) {
			fields = append(fields, fmt.Sprintf("owners[%d]", i))
		}
	}
	v := verdict{event: "organization.registered.v1", data: map[string]any{"plan": cmd.Plan, "owners": owners}}
	v.refuseFields(fields)
	v.refuseIf(s.registered, oat.ErrExists)
	return v
}

func (r *rules) changePlan(s state, cmd oat.ChangePlan) verdict {
	var v verdict
	v.refuseIf(!r.knows(cmd.Plan), oat.ErrUnknownPlan)
	if cmd.Plan != s.plan {
		v.event, v.data = "organization.plan_changed.v1", map[string]any{"plan": cmd.Plan}
	}
	return v
}

func (r *rules) addOwner(s state, cmd oat.AddOwner) verdict {
	var v verdict
	v.refuseIf(r.hostOwners != nil, oat.ErrHostOwners)
	owner := cleaned(cmd.Owner)
	if !isUser(owner) {
		v.refuseFields([]string{"owner"})
	}
	if !slices.Contains(s.owners, owner) {
		v.event, v.data = "organization.owner_added.v1", map[string]any{"owner": owner}
	}
	return v
}

func (r *rules) removeOwner(s state, cmd oat.RemoveOwner) verdict {
	owner := cleaned(cmd.Owner)
	v := verdict{event: "organization.owner_removed.v1", data: map[string]any{"owner": owner}}
	is := slices.Contains(s.owners, owner)
	v.refuseIf(r.hostOwners != nil, oat.ErrHostOwners)
	v.refuseIf(r.hostOwners == nil && !is, oat.ErrOwnerNotFound)
	v.refuseIf(r.hostOwners == nil && is && len(s.owners) == 1, oat.ErrLastOwner)
	return v
}

func (r *rules) generate(s state, cmd oat.Generate, e expiry, now time.Time) verdict {
	v := verdict{event: "token.generated.v1", count: len(s.tokens), limit: r.limits[s.plan]}
	v.refuseIf(v.limit == 0, oat.ErrNoTokens)
	v.refuseIf(v.limit > 0 && v.count >= v.limit, quota.ErrExceeded)
	fields := textFields(&cmd.Label, &cmd.Description)
	if !e.chosen || (token{expires: e.text}).expired(now) {
		fields = append(fields, "expires_at")
	}
	v.refuseFields(append(fields, resourceFields(cmd.Organization, cmd.Resources)...))
	v.data = map[string]any{"label": cleaned(cmd.Label), "resources": cmd.Resources}
	if description := cleaned(cmd.Description); description != "" {
		v.data["description"] = description
	}
	if e.text != "" {
		v.data["expires_at"] = e.text
	}
	return v
}

func textFields(label, description *string) (fields []string) {
	if label != nil && !isLabel(*label) {
		fields = append(fields, "label")
	}
	if description != nil && !isDescription(*description) {
		fields = append(fields, "description")
	}
	return fields
}

// onToken is the verdict on what is allowed with active tokens only.
func onToken(k token, exists bool, seen events.Version, now time.Time, event string) verdict {
	if !exists {
		return refused(oat.ErrTokenNotFound)
	}
	v := verdict{event: event, data: map[string]any{"token": k.id}}
	v.refuseIf(k.inactive, oat.ErrInactive)
	v.refuseIf(k.expired(now), oat.ErrExpired)
	v.refuseIf(k.changed(seen), oat.ErrChanged)
	return v
}

// changed tells whether the token is another than it was at a version, 0 for none.
func (k token) changed(seen events.Version) bool { return seen != 0 && seen != k.version }

func edit(s state, cmd oat.Edit, now time.Time) verdict {
	k, exists := s.tokens[cmd.Token.String()]
	v := onToken(k, exists, cmd.Version, now, "token.edited.v1")
	if !exists {
		return v
	}
	fields := textFields(cmd.Label, cmd.Description)
	if cmd.Resources != nil {
		fields = append(fields, resourceFields(cmd.Organization, cmd.Resources)...)
	}
	v.refuseFields(fields)
	if cmd.Label != nil && cleaned(*cmd.Label) != k.label {
		v.data["label"] = cleaned(*cmd.Label)
	}
	if cmd.Description != nil && cleaned(*cmd.Description) != k.description {
		v.data["description"] = cleaned(*cmd.Description)
	}
	if cmd.Resources != nil && !reflect.DeepEqual(plain(cmd.Resources), plain(k.resources)) {
		v.data["resources"] = cmd.Resources
	}
	if len(v.data) == 1 {
		v.event = ""
	}
	return v
}

func (r *rules) delete(s state, cmd oat.Delete, now time.Time) verdict {
	k, exists := s.tokens[cmd.Token.String()]
	if !exists {
		return refused(oat.ErrTokenNotFound)
	}
	v := verdict{event: "token.deleted.v1", data: map[string]any{"token": k.id}}
	v.refuseIf(r.requireInactive && k.changeable(now), oat.ErrActive)
	v.refuseIf(k.changed(cmd.Version), oat.ErrChanged)
	return v
}

// plain is a value as its JSON tells it, to be compared without types.
func plain(value any) (p any) {
	data, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err != nil {
		panic(err)
	}
	return p
}

// permits says why the record is not what should come of the command, "" when it is.
func (v *verdict) permits(r events.Recorded) string {
	if len(v.refusals) > 0 || v.event != r.Type {
		return fmt.Sprintf("recorded was %s %s, to be expected was %q or a refusal with %v", r.Type, r.Data, v.event, v.refusals)
	}
	var data map[string]any
	if err := json.Unmarshal(r.Data, &data); err != nil {
		return err.Error()
	}
	if r.Type == "token.generated.v1" {
		// What is drawn by lot is held against the answer to the caller.
		delete(data, "token")
		delete(data, "digest")
	}
	if want := plain(v.data); !reflect.DeepEqual(any(data), want) {
		return fmt.Sprintf("recorded was %v, to be expected was %v", data, want)
	}
	return ""
}

// permitsRefusal says why the command may not be refused so, "" when it may.
func (v *verdict) permitsRefusal(err error) string {
	var is []error
	for _, reason := range reasons() {
		if errors.Is(err, reason) {
			is = append(is, reason)
		}
	}
	if len(is) != 1 || !slices.Contains(v.refusals, is[0]) {
		return fmt.Sprintf("refused with %q, to be expected was %q or one of %v", err, v.event, v.refusals)
	}
	var exceeded *quota.ExceededError
	if errors.As(err, &exceeded) && (exceeded.Limit != v.limit || exceeded.Count != v.count) {
		return fmt.Sprintf("refused with %+v, to be expected was %d of %d", *exceeded, v.count, v.limit)
	}
	if is[0] == oat.ErrInvalid {
		return v.permitsFields(err)
	}
	return ""
}

// permitsFields demands that every field is named that is wrong, and no other. Where
// resources do not go together, any of them may be named.
func (v *verdict) permitsFields(err error) string {
	var problems oat.ValidationErrors
	if !errors.As(err, &problems) {
		return fmt.Sprintf("%q is %T", err, err)
	}
	var named []string
	for _, p := range problems {
		named = append(named, p.Field)
	}
	for _, field := range v.fields {
		if field != "resources" && !slices.Contains(named, field) {
			return fmt.Sprintf("%q does not name %s", err, field)
		}
	}
	if got, want := tops(named), tops(v.fields); !slices.Equal(got, want) {
		return fmt.Sprintf("%q names %v, wrong are %v", err, got, want)
	}
	return ""
}

// tops is fields without what follows a bracket, sorted.
func tops(fields []string) (names []string) {
	for _, f := range fields {
		top, _, _ := strings.Cut(f, "[")
		names = append(names, top)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// isID tells whether a text is the one form token ids are recorded in.
func isID(text string) bool {
	id, err := uuid.Parse(text)
	return err == nil && id.String() == text
}
