package projection

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
)

// DefaultDays is how many days of a token's use [Daily] remembers unless it is told
// otherwise.
const DefaultDays = 90

// Daily is how often each token was used on each day, and how often it was refused
// although the secret was right: what a picture of a token's use is drawn from. Days
// are those of UTC.
//
// What a record sums up counts on the day of its last attempt. A recorder sums up a
// minute as a rule, so little of a day's use is told of the next.
//
// Of every token the newest days on which it was used are remembered, so many of them
// and no more. Neither the order of records nor how they are grouped makes a
// difference, and a clock that is wrong by years costs one of the days and not all. A
// deleted token is dropped, as [LastUsed] does.
type Daily struct {
	model[map[uuid.UUID][]Day]
	days int
}

// Day is the use of one token on one day.
type Day struct {
	Date     time.Time `json:"date"` // midnight, UTC
	Accepted int64     `json:"accepted"`
	Refused  int64     `json:"refused"`
}

// NewDaily returns a read model at position 0 that remembers so many days of each token's
// use. Below 1 means [DefaultDays].
func NewDaily(days int) *Daily {
	if days < 1 {
		days = DefaultDays
	}
	d := &Daily{days: days}
	d.init(d)
	return d
}

func (d *Daily) begin(string) map[uuid.UUID][]Day { return make(map[uuid.UUID][]Day) }

func (d *Daily) fold(tokens map[uuid.UUID][]Day, r *reading) error { return foldExistence(tokens, r) }

// foldExistence folds which tokens there are into a map that holds something of each.
func foldExistence[V any](tokens map[uuid.UUID]V, d *reading) error {
	_, found := tokens[d.token]
	switch d.payload.(type) {
	case *events.TokenGenerated:
		if found {
			return secondToken(d)
		}
		var none V
		tokens[d.token] = none
	case *events.TokenDeleted:
		if !found {
			return noSuchToken(d)
		}
		delete(tokens, d.token)
	}
	return nil
}

func (d *Daily) use(tokens map[uuid.UUID][]Day, token uuid.UUID, use *events.UseView) {
	days, found := tokens[token]
	if !found {
		return
	}
	d.count(&days, &use.Accepted, func(day *Day) *int64 { return &day.Accepted })
	d.count(&days, &use.Refused, func(day *Day) *int64 { return &day.Refused })
	tokens[token] = days
}

// count adds a span to its day, and forgets the oldest day when there is one too many.
// A day that was forgotten stays so, because the newer ones are still there.
func (d *Daily) count(days *[]Day, span *events.SpanView, outcome func(*Day) *int64) {
	if span.Count < 1 {
		return
	}
	date := midnight(span.Last)
	i, found := slices.BinarySearchFunc(*days, date, func(day Day, date time.Time) int { return day.Date.Compare(date) })
	if !found {
		*days = slices.Insert(*days, i, Day{Date: date})
	}
	*outcome(&(*days)[i]) += span.Count
	if len(*days) > d.days {
		*days = slices.Delete(*days, 0, 1)
	}
}

// Of is the use of a token on n days, the last of which is that of until: one Day for
// each, oldest first, those without use included. A token that does not exist was
// used on none of them.
func (d *Daily) Of(organization string, id uuid.UUID, until time.Time, n int) []Day {
	all := make([]Day, max(n, 0))
	last := midnight(until)
	for i := range all {
		all[i].Date = last.AddDate(0, 0, i+1-n)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	tokens, _ := d.state(organization)
	for _, day := range tokens[id] {
		i, found := slices.BinarySearchFunc(all, day.Date, func(day Day, date time.Time) int { return day.Date.Compare(date) })
		if found {
			all[i] = day
		}
	}
	return all
}

// midnight is the beginning of an instant's day in UTC.
func midnight(at time.Time) time.Time {
	year, month, day := at.UTC().Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}
