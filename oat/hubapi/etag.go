package hubapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
)

// tag is the entity tag of a token: the version of its last change, a dot, and when it
// was last used in microseconds since 1970. An edit is held against the first part only:
// that somebody used the token meanwhile makes no edit stale.
func (o *tokenObject) tag() string {
	var used int64
	if !o.used.IsZero() {
		used = o.used.UnixMicro()
	}
	return `"` + strconv.FormatInt(int64(o.version), 10) + "." + strconv.FormatInt(used, 10) + `"`
}

// sameAs tells whether a client that names these tags has what it would get.
func (o *tokenObject) sameAs(ifNoneMatch []string) bool {
	tags, all, _ := readTags(ifNoneMatch)
	return all || slices.ContainsFunc(tags, func(tag string) bool { return strings.TrimPrefix(tag, "W/") == o.tag() })
}

// seen is the version that If-Match makes the request depend on, 0 for any, once it is
// clear that the token is there and at that version. Whether it still is when the command
// is carried out is the service's to see.
func (c *call) seen() (events.Version, uuid.UUID, error) {
	given := c.r.Header.Values("If-Match")
	if len(given) == 0 {
		id, err := oat.ParseTokenID(c.id)
		if err != nil {
			return 0, id, notFound("access token")
		}
		return 0, id, nil
	}
	o, id, err := c.current()
	if err != nil {
		return 0, id, err
	}
	tags, all, wellFormed := readTags(given)
	switch {
	case !wellFormed:
		return 0, id, refuseField(http.StatusBadRequest, "If-Match", `want * or entity tags like "17.0"`)
	case all:
		return 0, id, nil
	}
	version, _, _ := strings.Cut(o.tag(), ".")
	if slices.ContainsFunc(tags, func(tag string) bool { return strings.HasPrefix(tag, version+".") }) {
		return o.version, id, nil
	}
	return 0, id, changed(o)
}

// changed is the refusal that tells the second of two editors, and the tag of what the
// first one made.
func changed(o *tokenObject) *refusal {
	refused, _ := refusalOf(oat.ErrChanged)
	refused.header = map[string]string{"ETag": o.tag()}
	return refused
}

// readTags splits a list of entity tags. It is not well-formed when it is empty, or when
// something in it is no tag.
func readTags(lines []string) (tags []string, all, wellFormed bool) {
	text := strings.TrimSpace(strings.Join(lines, ","))
	if text == "*" {
		return nil, true, true
	}
	for text != "" {
		tag, rest, isTag := cutTag(text)
		if !isTag {
			return nil, false, false
		}
		tags = append(tags, tag)
		text = strings.TrimLeft(rest, ", \t")
		if text != "" && strings.TrimLeft(rest, " \t")[0] != ',' {
			return nil, false, false
		}
	}
	return tags, false, len(tags) > 0
}

// cutTag is the entity tag that text begins with, and what follows.
func cutTag(text string) (tag, rest string, isTag bool) {
	start := len(text) - len(strings.TrimPrefix(text, "W/"))
	if start >= len(text) || text[start] != '"' {
		return "", "", false
	}
	end := strings.IndexByte(text[start+1:], '"')
	if end < 0 {
		return "", "", false
	}
	end += start + 2
	return text[:end], text[end:], true
}
