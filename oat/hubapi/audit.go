package hubapi

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// The actions of the audit log. Docker Hub has the first three; the others are for what
// else is decided about an organization, so that the log has no holes.
const (
	actionCreate      = "org.access_token.create"
	actionUpdate      = "org.access_token.update"
	actionDelete      = "org.access_token.delete"
	actionRegister    = "org.create"
	actionPlan        = "org.plan.update"
	actionAddOwner    = "org.owner.add"
	actionRemoveOwner = "org.owner.remove"
)

// auditObject is one entry of the audit log.
type auditObject struct {
	Account           string            `json:"account"`
	Action            string            `json:"action"`
	Name              string            `json:"name"` // the token's label, or the organization
	Actor             string            `json:"actor"`
	Data              map[string]string `json:"data"`
	Timestamp         string            `json:"timestamp"`
	ActionDescription string            `json:"action_description"`
}

// audit answers GET /v2/auditlogs/{org}, the newest entry first.
func (c *call) audit() (*reply, error) {
	query, err := c.query("action", "name", "actor", "from", "to", "page", "page_size")
	if err != nil {
		return nil, err
	}
	p, err := query.page(25)
	if err != nil {
		return nil, err
	}
	span, err := query.span()
	if err != nil {
		return nil, err
	}
	if err := c.settle(); err != nil {
		return nil, err
	}
	logs := c.audited(query, span, p)
	return ok(struct {
		Logs []auditObject `json:"logs"`
	}{logs}), nil
}

// audited is a page of the audit log. Where entries are searched for, all of them are
// looked at: they are in memory, and what an organization decides in years is little.
func (c *call) audited(q query, span projection.Span, p page) []auditObject {
	searching := q["action"] != "" || q["name"] != "" || q["actor"] != ""
	if !searching {
		span.Page, span.PageSize = p.number, p.size
	}
	logs := []auditObject{}
	skip := 0
	if searching {
		skip = (p.number - 1) * p.size
	}
	story := c.cfg.History.Organization(c.org, span)
	for i := range story.Entries {
		entry := auditOf(&story.Entries[i])
		switch {
		case !q.matches(entry):
		case skip > 0:
			skip--
		case len(logs) < p.size:
			logs = append(logs, entry)
		}
	}
	return logs
}

func (q query) matches(entry auditObject) bool {
	is := func(asked, recorded string) bool {
		return asked == "" || oat.CleanText(asked) == oat.CleanText(recorded)
	}
	return (q["action"] == "" || q["action"] == entry.Action) && is(q["name"], entry.Name) && is(q["actor"], entry.Actor)
}

// span reads from and to. An instant in to is the first that is left out; a day in to is
// the last that is included, as in the console.
func (q query) span() (projection.Span, error) {
	found := problems{}
	since, _ := q.instant("from", found)
	until, day := q.instant("to", found)
	if day {
		until = until.AddDate(0, 0, 1)
	}
	span := projection.Span{Since: since, Until: until, Descending: true}
	if len(found) > 0 {
		return span, refuseFields(found)
	}
	return span, nil
}

// instant reads a parameter that is a time, or a day for its beginning in UTC, and reports
// whether it is a day.
func (q query) instant(name string, found problems) (at time.Time, day bool) {
	text := q[name]
	if text == "" {
		return time.Time{}, false
	}
	if at, err := time.Parse(time.DateOnly, text); err == nil {
		return at, true
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		found.add(name, "want an instant like 2027-01-31T00:00:00Z, or a day like 2027-01-31")
	}
	return at, false
}

func auditOf(e *projection.Entry) auditObject {
	o := auditObject{
		Account: e.Organization, Name: e.Organization, Actor: e.Actor,
		Data: dataOf(e), Timestamp: e.Time.UTC().Format(stamp),
	}
	if e.Token != uuid.Nil {
		o.Name = e.Label
	}
	var does string
	o.Action, does = describe(e.Type)
	o.ActionDescription = fmt.Sprintf(does, o.Name)
	return o
}

// describe names an event in the words of the audit log, and in a person's.
func describe(eventType string) (action, does string) {
	switch eventType {
	case events.TypeTokenGenerated:
		return actionCreate, "created the organization access token %q"
	case events.TypeTokenEdited:
		return actionUpdate, "updated the organization access token %q"
	case events.TypeTokenDeactivated:
		return actionUpdate, "deactivated the organization access token %q"
	case events.TypeTokenDeleted:
		return actionDelete, "deleted the organization access token %q"
	case events.TypeOrganizationRegistered:
		return actionRegister, "registered the organization %q"
	case events.TypeOrganizationPlanChanged:
		return actionPlan, "changed the plan of the organization %q"
	case events.TypeOrganizationOwnerAdded:
		return actionAddOwner, "added an owner to the organization %q"
	case events.TypeOrganizationOwnerRemoved:
		return actionRemoveOwner, "removed an owner of the organization %q"
	}
	return eventType, eventType + " of %q"
}

// dataOf is what an entry is about in texts: the token, why, and what became what.
func dataOf(e *projection.Entry) map[string]string {
	data := map[string]string{}
	put := func(name, text string) {
		switch before, given := data[name]; {
		case text == "":
		case given:
			data[name] = before + ", " + text // of several owners
		default:
			data[name] = text
		}
	}
	if e.Token != uuid.Nil {
		put("access_token_id", e.Token.String())
	}
	put("reason", e.Reason)
	for _, change := range e.Changes {
		put(change.Field, change.To)
		put("previous_"+change.Field, change.From)
	}
	return data
}
