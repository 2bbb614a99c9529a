package hubapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// tokenObject is a token as the API shows it.
type tokenObject struct {
	ID          string            `json:"id"`
	Label       string            `json:"label"`
	Description string            `json:"description"`
	CreatedBy   string            `json:"created_by"`
	IsActive    bool              `json:"is_active"`
	CreatedAt   string            `json:"created_at"`
	ExpiresAt   *string           `json:"expires_at"`
	LastUsedAt  *string           `json:"last_used_at"`
	Resources   []events.Resource `json:"resources,omitempty"` // absent in lists
	Token       string            `json:"token,omitempty"`     // the secret, when it is created
	Message     string            `json:"message,omitempty"`   // to a request that came again

	version events.Version
	used    time.Time
}

// stamp is how the API writes times of its own: with six fractional digits, always.
const stamp = "2006-01-02T15:04:05.000000Z"

func (c *call) object(t *projection.Token) *tokenObject {
	return c.used(&tokenObject{
		ID: t.ID.String(), Label: t.Label, Description: t.Description, CreatedBy: t.CreatedBy,
		IsActive: t.State != projection.Inactive, CreatedAt: t.CreatedAt.UTC().Format(stamp), ExpiresAt: expiresAt(t.ExpiresAt),
		Resources: t.Resources, version: t.Version,
	}, t.ID)
}

func (c *call) objectOf(t *oat.Token) *tokenObject {
	return c.used(&tokenObject{
		ID: t.ID.String(), Label: t.Label, Description: t.Description, CreatedBy: t.CreatedBy,
		IsActive: t.Active, CreatedAt: t.CreatedAt.UTC().Format(stamp), ExpiresAt: expiresAt(t.Expires.String()),
		Resources: t.Resources, version: t.Version,
	}, t.ID)
}

// used adds when the token was last used. Attempts that were refused are no use.
func (c *call) used(o *tokenObject, id uuid.UUID) *tokenObject {
	if usage, known := c.cfg.LastUsed.Of(c.org, id); known && usage.Accepted.Count > 0 {
		o.used = usage.Accepted.Last
		text := o.used.UTC().Format(stamp)
		o.LastUsedAt = &text
	}
	return o
}

// expiresAt is the very text that was asked for, null for never.
func expiresAt(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// list answers GET /v2/orgs/{org}/access-tokens.
func (c *call) list() (*reply, error) {
	query, err := c.query("page", "page_size")
	if err != nil {
		return nil, err
	}
	p, err := query.page(10)
	if err != nil {
		return nil, err
	}
	if err := c.settle(); err != nil {
		return nil, err
	}
	found := c.cfg.Tokens.List(c.org, projection.Query{At: c.now, Page: p.number, PageSize: p.size})
	results := make([]*tokenObject, len(found.Tokens))
	for i := range found.Tokens {
		results[i] = c.object(&found.Tokens[i])
		results[i].Resources = nil
	}
	next, previous := p.links(c, found.Total)
	return ok(struct {
		Total    int            `json:"total"`
		Next     *string        `json:"next"`
		Previous *string        `json:"previous"`
		Results  []*tokenObject `json:"results"`
	}{found.Total, next, previous, results}), nil
}

// current is the token that the path names, as of now.
func (c *call) current() (*tokenObject, uuid.UUID, error) {
	id, err := oat.ParseTokenID(c.id)
	if err != nil {
		return nil, id, notFound("access token") // nothing has such an id
	}
	if err := c.settle(); err != nil {
		return nil, id, err
	}
	t, known := c.cfg.Tokens.Get(c.org, id, c.now)
	if !known {
		return nil, id, oat.ErrTokenNotFound
	}
	return c.object(&t), id, nil
}

// get answers GET /v2/orgs/{org}/access-tokens/{id}.
func (c *call) get() (*reply, error) {
	o, _, err := c.current()
	if err != nil {
		return nil, err
	}
	if o.sameAs(c.r.Header.Values("If-None-Match")) {
		return (&reply{status: http.StatusNotModified}).with("ETag", o.tag()), nil
	}
	return ok(o).with("ETag", o.tag()), nil
}

// create answers POST /v2/orgs/{org}/access-tokens.
func (c *call) create() (*reply, error) {
	key, err := c.idempotencyKey()
	if err != nil {
		return nil, err
	}
	cmd, err := c.generate()
	if err != nil {
		return nil, err
	}
	by := c.by()
	if key != "" {
		cmd.Once, by.Correlation = true, requestOf(c.user, key)
	}
	token, secret, err := c.cfg.Service.Generate(c.r.Context(), by, cmd)
	if repeated := (*oat.RepeatedError)(nil); errors.As(err, &repeated) {
		return c.repeated(&cmd, repeated.Token)
	}
	if err != nil {
		return nil, err
	}
	o := c.objectOf(&token)
	o.Token = secret.Reveal()
	created := &reply{status: http.StatusCreated, body: o}
	return created.with("ETag", o.tag()).with("Location", c.base()+c.path()+"/"+o.ID), nil
}

// generate is the command that the body is. An expiry that is none goes to the service
// as no choice, which it refuses together with everything else that is wrong.
func (c *call) generate() (cmd oat.Generate, err error) {
	o, err := c.body("label", "description", "resources", "expires_at")
	if err != nil {
		return cmd, err
	}
	found := problems{}
	label, description := o.text("label", found), o.text("description", found)
	cmd = oat.Generate{
		Organization: c.org, Label: value(label), Description: value(description),
		Expires: o.expiry("expires_at", found), Resources: o.resources("resources", found),
	}
	if len(found) == 0 {
		return cmd, nil
	}
	if len(found) == 1 && found["expires_at"] != nil {
		_, _, err := c.cfg.Service.Generate(c.r.Context(), c.by(), cmd)
		if others := (oat.ValidationErrors)(nil); errors.As(err, &others) {
			for _, other := range others {
				if other.Field != "expires_at" {
					found.add(other.Field, other.Problem)
				}
			}
		}
	}
	return cmd, refuseFields(found)
}

func value(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// edit answers PATCH /v2/orgs/{org}/access-tokens/{id}.
func (c *call) edit() (*reply, error) {
	seen, id, err := c.seen()
	if err != nil {
		return nil, err
	}
	o, err := c.body("label", "description", "resources", "is_active")
	if err != nil {
		return nil, err
	}
	found := problems{}
	active := o.flag("is_active", found)
	cmd := oat.Edit{
		Organization: c.org, Token: id, Version: seen,
		Label: o.text("label", found), Description: o.text("description", found), Resources: o.resources("resources", found),
		Deactivate: active != nil && !*active,
	}
	if len(found) > 0 {
		return nil, refuseFields(found)
	}
	token, err := c.cfg.Service.Edit(c.r.Context(), c.by(), cmd)
	if err != nil {
		return nil, err
	}
	edited := c.objectOf(&token)
	return ok(edited).with("ETag", edited.tag()), nil
}

// delete answers DELETE /v2/orgs/{org}/access-tokens/{id}.
func (c *call) delete() (*reply, error) {
	seen, id, err := c.seen()
	if err != nil {
		return nil, err
	}
	if err := c.cfg.Service.Delete(c.r.Context(), c.by(), oat.Delete{Organization: c.org, Token: id, Version: seen}); err != nil {
		return nil, err
	}
	return &reply{status: http.StatusNoContent}, nil
}

// idempotencyKey is the key of the request, "" for none.
func (c *call) idempotencyKey() (string, error) {
	given := c.r.Header.Values("Idempotency-Key")
	if len(given) == 0 {
		return "", nil
	}
	key := given[0]
	printable := !strings.ContainsFunc(key, func(r rune) bool { return r < '!' || r > '~' })
	if len(given) > 1 || key == "" || len(key) > 255 || !printable {
		return "", refuseField(http.StatusBadRequest, "Idempotency-Key", "want one of 1 to 255 printable ASCII characters without blanks")
	}
	return key, nil
}

// requestOf names a request with a key, in the record: the key itself is the client's
// own, and two owners may choose the same.
func requestOf(user, key string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q", user, key))
	return "idempotency-key:" + hex.EncodeToString(sum[:])
}

// repeated answers a request that made a token when it came first. What it asked for
// then stands in the log.
func (c *call) repeated(cmd *oat.Generate, id uuid.UUID) (*reply, error) {
	if err := c.settle(); err != nil {
		return nil, err
	}
	first, err := c.generated(id)
	if err != nil {
		return nil, err
	}
	if other := differences(cmd, first); len(other) > 0 {
		text := fmt.Sprintf("was used for another request, with another %s", strings.Join(other, ", "))
		return nil, refuseField(http.StatusUnprocessableEntity, "Idempotency-Key", text)
	}
	t, known := c.cfg.Tokens.Get(c.org, id, c.now)
	if !known {
		return nil, refuse(http.StatusConflict, "this request was carried out before; the access token %s that it made was deleted since", id)
	}
	o := c.object(&t)
	o.Message = "this request was carried out before, and made this access token; its secret was shown then and cannot be shown again"
	return ok(o).with("ETag", o.tag()).with("Idempotent-Replayed", "true"), nil
}

// generated is the event that generated a token, deleted ones included.
func (c *call) generated(id uuid.UUID) (*events.TokenGenerated, error) {
	story := c.cfg.History.Token(c.org, id, projection.Span{PageSize: 1})
	if len(story.Entries) == 0 {
		return nil, errors.New("a token that was generated has no history")
	}
	return c.readGenerated(c.r.Context(), story.Entries[0].Version)
}

func (c *call) readGenerated(ctx context.Context, v events.Version) (*events.TokenGenerated, error) {
	for r, err := range c.cfg.Log.ReadStream(ctx, events.OrganizationStream(c.org), v-1) {
		if err != nil {
			return nil, err
		}
		payload, err := r.Payload()
		if generated, is := payload.(*events.TokenGenerated); err == nil && is {
			return generated, nil
		}
		return nil, fmt.Errorf("%s version %d does not generate a token: %w", r.Stream, v, err)
	}
	return nil, fmt.Errorf("%w: version %d of %s is gone", events.ErrDamaged, v, c.org)
}

// differences names what the two requests did not have in common.
func differences(cmd *oat.Generate, first *events.TokenGenerated) (names []string) {
	same := func(a, b events.Resource) bool {
		return a.Type == b.Type && a.Path == b.Path && slices.Equal(a.Scopes, b.Scopes)
	}
	if oat.CleanText(cmd.Label) != first.Label {
		names = append(names, "label")
	}
	if oat.CleanText(cmd.Description) != first.Description {
		names = append(names, "description")
	}
	if cmd.Expires.String() != first.ExpiresAt {
		names = append(names, "expires_at")
	}
	if !slices.EqualFunc(cmd.Resources, first.Resources, same) {
		names = append(names, "resources")
	}
	return names
}

// known is the version up to which the history has the organization's stream.
func (c *call) known() events.Version {
	none := projection.Span{Page: math.MaxInt, PageSize: 1}
	return events.Version(c.cfg.History.Organization(c.org, none).Total)
}
