package projection_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/projection"
)

// Daily shows what the plain model counts, for the newest days it has room for. To see
// it fail, let Daily.count forget the newest day, or
// let the refused ones count as accepted.
func TestDailyAgreesWithModel(t *testing.T) {
	for _, room := range []int{2, 1000} {
		w := randomWorld(t, 3, 1500)
		daily := projection.NewDaily(room)
		apply(t, w.Records, daily)
		m, until := fold(w.Records), w.Instants[len(w.Instants)-1].AddDate(1, 0, 0)
		for _, name := range w.Organizations {
			for _, id := range w.Tokens[name] {
				want := daysOf(m.organizations[name].find(id), room)
				got := daily.Of(name, uuid.MustParse(id), until, 4000)
				got = slices.DeleteFunc(got, func(d projection.Day) bool { return d.Accepted+d.Refused == 0 })
				if !slices.Equal(got, want) {
					t.Errorf("token %s, room for %d days:\n%s", id, room, cmp.Diff(want, got))
				}
			}
		}
	}
}

// daysOf counts what was recorded of a token, nil when it is not there.
func daysOf(token *modelToken, room int) (days []projection.Day) {
	if token == nil {
		return nil
	}
	at := make(map[time.Time]projection.Day)
	for _, s := range token.accepted {
		date := s.Last.UTC().Truncate(24 * time.Hour)
		at[date] = projection.Day{Date: date, Accepted: at[date].Accepted + s.Count, Refused: at[date].Refused}
	}
	for _, s := range token.refused {
		date := s.Last.UTC().Truncate(24 * time.Hour)
		at[date] = projection.Day{Date: date, Accepted: at[date].Accepted, Refused: at[date].Refused + s.Count}
	}
	for _, day := range at {
		days = append(days, day)
	}
	slices.SortFunc(days, func(a, b projection.Day) int { return a.Date.Compare(b.Date) })
	return days[max(0, len(days)-room):]
}

// A day that nothing was used on is told with zeros, and so is everything of a token
// that does not exist.
func TestDailyTellsEveryDay(t *testing.T) {
	daily := projection.NewDaily(0)
	until := time.Date(2026, 3, 2, 13, 0, 0, 0, time.FixedZone("", -12*3600)) // 3 March in UTC
	got := daily.Of("acme", uuid.New(), until, 3)
	want := []projection.Day{{Date: date(2026, 3, 1)}, {Date: date(2026, 3, 2)}, {Date: date(2026, 3, 3)}}
	if !slices.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	for _, n := range []int{0, -1} {
		if got := daily.Of("acme", uuid.New(), until, n); len(got) != 0 {
			t.Errorf("%d days: %v", n, got)
		}
	}
}

func date(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// What is summed up over midnight counts on the later day; a record with an id that is
// none counts nothing. To see it fail, let Daily.count use the first attempt of a span.
func TestDailyOverMidnight(t *testing.T) {
	daily := projection.NewDaily(0)
	apply(t, twoRecords(), daily)
	use := events.Recorded{Stream: usage, Version: 1, Position: 30, Envelope: events.Envelope{Type: events.TypeUsageRecorded, Data: []byte(usesOf(known, "nobody"))}}
	apply(t, []events.Recorded{use}, daily)
	use.Version, use.Position = 2, 40
	use.Envelope = events.Envelope{Type: use.Type, Data: []byte(`{"uses":[{"token":"` + known + `","accepted":{"first":"2025-12-31T23:59:30Z","last":"2026-01-01T00:00:29Z","count":7}}]}`)}
	apply(t, []events.Recorded{use}, daily)
	want := []projection.Day{{Date: date(2025, 12, 31)}, {Date: date(2026, 1, 1), Accepted: 7}}
	if got := daily.Of("acme", uuid.MustParse(known), date(2026, 1, 1), 2); !slices.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}
