package projection_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/projection/projtest"
)

// As of any instant History shows what the plain model makes of the records up to
// then, clocks that jumped back included. To see it fail, let History.fold take a
// record's own time as its moment, let entries.until leave out what happened at the
// very instant, or let past.learn keep deleted tokens.
func TestHistoryAtAgreesWithModel(t *testing.T) {
	w := randomWorld(t, 2, 800)
	history := projection.NewHistory()
	apply(t, w.Records, history)
	for _, name := range w.Organizations {
		for _, at := range instantsOf(w) {
			o := fold(upTo(w.Records, events.OrganizationStream(name), at)).organizations[name]
			if got, ok := history.OrganizationAt(name, at); ok != (o != nil) || ok && !cmp.Equal(got, o.facts) {
				t.Fatalf("%s at %v: found %v\n%+v", name, at, ok, got)
			}
			if o == nil {
				continue
			}
			want := o.list(at)
			if got := history.TokensAt(name, at); !cmp.Equal(got, want) {
				t.Fatalf("%s at %v:\n%s", name, at, cmp.Diff(want, got))
			}
			checkEachTokenAt(t, history, name, w.Tokens[name], at, want)
		}
	}
}

func checkEachTokenAt(t *testing.T, history *projection.History, name string, ids []string, at time.Time, want []projection.Token) {
	t.Helper()
	for _, id := range ids {
		i := slices.IndexFunc(want, func(t projection.Token) bool { return t.ID.String() == id })
		got, ok := history.TokenAt(name, uuid.MustParse(id), at)
		if ok != (i >= 0) || ok && !cmp.Equal(got, want[i]) {
			t.Fatalf("token %s at %v: found %v, want %v\n%+v", id, at, ok, i >= 0, got)
		}
	}
}

// instantsOf adds to the instants of the world those right around some records.
func instantsOf(w projtest.World) []time.Time {
	list := slices.Clone(w.Instants)
	for i := 0; i < len(w.Records); i += 40 {
		at := w.Records[i].Time
		list = append(list, at.Add(-1), at, at.Add(1))
	}
	return list
}

// upTo is the records of a stream that had happened at an instant: the longest
// beginning of it in which no record is later.
func upTo(records []events.Recorded, stream events.StreamID, at time.Time) (past []events.Recorded) {
	for _, r := range records {
		if r.Stream != stream {
			continue
		}
		if r.Time.After(at) {
			break
		}
		past = append(past, r)
	}
	return past
}

// What entries say that changed adds up to how the tokens are in the end. To see it
// fail, let past.tell learn the entry before it looks at what was before, or leave
// a field out of tokenChanges.
func TestStoryAddsUp(t *testing.T) {
	w := randomWorld(t, 2, 1500)
	history, tokens := projection.NewHistory(), projection.NewTokens()
	apply(t, w.Records, history, tokens)
	for _, name := range w.Organizations {
		fields := make(map[uuid.UUID]map[string]string)
		for i, e := range history.Organization(name, projection.Span{}).Entries {
			if e.Version != events.Version(i+1) || len(e.Changes) == 0 {
				t.Fatalf("entry %d: %+v", i, e)
			}
			retell(t, fields, e)
		}
		for _, id := range w.Tokens[name] {
			token, ok := tokens.Get(name, uuid.MustParse(id), time.Time{})
			got := fields[uuid.MustParse(id)]
			if !ok {
				token.State = "deleted"
				token.Label, token.Description, token.ExpiresAt = got["label"], got["description"], got["expires_at"]
			}
			want := map[string]string{"label": token.Label, "description": token.Description, "expires_at": token.ExpiresAt, "state": string(token.State)}
			delete(got, "resources")
			for field := range want {
				if got[field] != want[field] {
					t.Errorf("token %s: %s is %q by its story, want %q", id, field, got[field], want[field])
				}
			}
		}
	}
}

// retell puts what an entry changed into fields, and checks that it changed what
// was there.
func retell(t *testing.T, fields map[uuid.UUID]map[string]string, e projection.Entry) {
	t.Helper()
	if fields[e.Token] == nil {
		fields[e.Token] = make(map[string]string)
	}
	for _, c := range e.Changes {
		was := fields[e.Token][c.Field]
		expired := c.Field == "state" && was == "active" && c.From == "expired" // by the passing of time
		if c.Field != "owner" && c.From != was && !expired || c.From == c.To {
			t.Errorf("version %d: %+v, but it was %q", e.Version, c, was)
		}
		fields[e.Token][c.Field] = c.To
	}
	if e.Token != uuid.Nil && e.Label != fields[e.Token]["label"] {
		t.Errorf("version %d: label %q, want %q", e.Version, e.Label, fields[e.Token]["label"])
	}
}

// Pages, bounds and the stories of single tokens are all parts of the one story.
// To see it fail, let Span.tell not count pages from the end when it tells
// backwards, or let entries.tell not learn what it does not tell.
func TestStoryParts(t *testing.T) {
	w := randomWorld(t, 1, 600)
	history, name := projection.NewHistory(), w.Organizations[0]
	apply(t, w.Records, history)
	whole := history.Organization(name, projection.Span{})
	if whole.Total != len(whole.Entries) || whole.Total == 0 {
		t.Fatalf("%d of %d entries", len(whole.Entries), whole.Total)
	}
	backwards := slices.Clone(whole.Entries)
	slices.Reverse(backwards)
	for _, size := range []int{1, 7, whole.Total, whole.Total + 1} {
		checkPages(t, size, whole.Entries, func(s projection.Span) projection.Story { return history.Organization(name, s) })
		checkPages(t, size, backwards, func(s projection.Span) projection.Story {
			s.Descending = true
			return history.Organization(name, s)
		})
	}
	for _, id := range w.Tokens[name] {
		var want []projection.Entry
		for _, e := range whole.Entries {
			if e.Token.String() == id {
				want = append(want, e)
			}
		}
		checkPages(t, 2, want, func(s projection.Span) projection.Story { return history.Token(name, uuid.MustParse(id), s) })
	}
}

// checkPages reads a story page by page.
func checkPages(t *testing.T, size int, want []projection.Entry, read func(projection.Span) projection.Story) {
	t.Helper()
	var got []projection.Entry
	for page := 1; ; page++ {
		story := read(projection.Span{Page: page, PageSize: size})
		if story.Total != len(want) || len(story.Entries) > size {
			t.Fatalf("page %d of %d entries: %d of %d, want %d", page, size, len(story.Entries), story.Total, len(want))
		}
		if len(story.Entries) == 0 {
			break
		}
		got = append(got, story.Entries...)
	}
	if !cmp.Equal(got, want) {
		t.Fatalf("pages of %d:\n%s", size, cmp.Diff(want, got))
	}
}

// A story that is cut at instants has each entry once: Since is included, Until is
// not. To see it fail, let Span.bounds include Until.
func TestStoryBounds(t *testing.T) {
	w := randomWorld(t, 1, 600)
	history, name := projection.NewHistory(), w.Organizations[0]
	apply(t, w.Records, history)
	var parts []projection.Entry
	bounds := slices.DeleteFunc(slices.Clone(w.Instants), time.Time.IsZero)
	for i := range len(bounds) + 1 {
		var s projection.Span
		if i > 0 {
			s.Since = bounds[i-1]
		}
		if i < len(bounds) {
			s.Until = bounds[i]
		}
		parts = append(parts, history.Organization(name, s).Entries...)
	}
	if want := history.Organization(name, projection.Span{}).Entries; !cmp.Equal(parts, want) {
		t.Errorf("parts between instants:\n%s", cmp.Diff(want, parts))
	}
}
