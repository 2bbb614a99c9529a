package invariants

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
	"github.com/oatmill/oatmill/quota"
)

// Report is how much there was to judge.
type Report struct {
	Commands int
	Outcomes map[string]int // by what the players were told: done, refused, unknown, failed
	Kept     int            // of unknown outcome that are in the log
	Records  int
}

func (r Report) String() string {
	return fmt.Sprintf("%d commands: %d done, %d refused, %d unknown of which %d are in the log, %d failed; %d records",
		r.Commands, r.Outcomes[outcomeDone], r.Outcomes[outcomeRefused], r.Outcomes[outcomeUnknown], r.Kept, r.Outcomes[outcomeFailed], r.Records)
}

// Judge holds what players were told against what is in the log: every acknowledged
// command is there once and nothing of a refused or failed one; every record and every
// refusal was right by the rules at some moment of the call; the hash chains hold; and all
// players that ended in order saw in the end what one sees who begins anew.
//
// The clocks of the players must be one, which on one machine they are.
func Judge(t testing.TB, log events.Log, journals ...io.Reader) Report {
	t.Helper()
	j := &judge{
		world: &world{
			tb: t, log: log, ears: new(ears), rules: rules{limits: map[string]int{planNone: 0, planTwo: 2, planFour: 4}},
			orgs: make(map[string]*history), calls: make(map[string]*call), digests: make(map[string]bool), uses: newUsage(),
		},
		entries: make(map[string]*entry),
		report:  Report{Outcomes: make(map[string]int)},
	}
	for _, journal := range journals {
		j.read(t, journal)
	}
	j.recall(t)
	j.absorb(t)
	j.report.Records = len(j.records)
	for id, c := range j.calls {
		j.conclude(t, c, j.entries[id])
	}
	j.chains(t)
	j.ends(t)
	return j.report
}

type judge struct {
	*world
	entries map[string]*entry // of commands, by correlation
	last    []*entry          // of players that ended in order
	report  Report
}

// read takes in a journal. The line after a command replaces the one before it.
func (j *judge) read(t testing.TB, journal io.Reader) {
	lines := bufio.NewReader(journal)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return // of a player that was killed in the middle of a line
		}
		if err != nil {
			t.Fatal(err)
		}
		e := new(entry)
		if err := json.Unmarshal(line, e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if e.Kind == "end" {
			j.last = append(j.last, e)
		} else {
			j.entries[e.ID] = e
		}
	}
}

// recall makes calls of the entries, with the moments at which each may have been carried
// out. The outcome of a command whose player was killed is unknown.
func (j *judge) recall(t testing.TB) {
	recorded := make(map[string]time.Time)
	for r, err := range j.log.ReadAll(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		recorded[r.Correlation] = r.Time
	}
	for id, e := range j.entries {
		if e.Outcome == "" {
			e.Outcome, e.End = outcomeUnknown, time.Now().UTC()
		}
		c := e.call()
		c.nows = []time.Time{e.Begin, e.End}
		if at, ok := recorded[id]; ok && !at.Before(e.Begin) && !at.After(e.End) {
			c.nows = append(c.nows, at)
		}
		j.calls[id] = c
		j.report.Commands++
		j.report.Outcomes[e.Outcome]++
	}
}

func (j *judge) conclude(t testing.TB, c *call, e *entry) {
	if e.Outcome == outcomeUnknown && c.record != nil {
		j.report.Kept++
	}
	c.from, c.to = j.between(c.org, e)
	if problem := j.problem(c, e); problem != "" {
		t.Errorf("%s: %+v by %+v on %q from %s to %s, at versions %d to %d, told %q %s: %s",
			c.id, c.what, c.by, c.org, e.Begin, e.End, c.from, c.to, e.Outcome, e.Error, problem)
	}
}

// between is which versions of the stream a call may have met: none that is older than
// what somebody had been told before it began, and none that was decided after it ended.
func (j *judge) between(org string, e *entry) (from, to events.Version) {
	for i := range j.records {
		r := &j.records[i]
		if r.Stream != events.OrganizationStream(org) {
			continue
		}
		if told := j.entries[r.Correlation]; told.Outcome == outcomeDone && told.End.Before(e.Begin) {
			from = max(from, r.Version)
		}
		if !r.Time.After(e.End) {
			to = max(to, r.Version)
		}
	}
	return from, to
}

// problem says what is wrong with what a player was told, "" when nothing is.
func (j *judge) problem(c *call, e *entry) string {
	switch left := c.record != nil; {
	case e.Outcome == outcomeUnknown:
		return ""
	case e.Outcome == outcomeDone && e.Error != "":
		return e.Error
	case e.Outcome == outcomeDone && left:
		return e.returned(c.after)
	case e.Outcome == outcomeDone:
		return j.someMoment(c, func(_ state, v verdict) string {
			if len(v.refusals) > 0 || v.event != "" {
				return fmt.Sprintf("done without a record, to be expected was %q or a refusal with %v", v.event, v.refusals)
			}
			return ""
		})
	case left:
		return "recorded nevertheless"
	case e.Outcome == outcomeFailed:
		return ""
	}
	return j.someMoment(c, func(_ state, v verdict) string { return v.permitsRefusal(e.refusal()) })
}

// refusal is the error that the player was told.
func (e *entry) refusal() error {
	switch reason := reasons()[e.Reason]; reason {
	case quota.ErrExceeded:
		return &quota.ExceededError{Count: e.Count, Limit: e.Limit}
	case oat.ErrInvalid:
		var problems oat.ValidationErrors
		for _, field := range e.Fields {
			problems = append(problems, &oat.ValidationError{Field: field})
		}
		return problems
	default:
		return reason
	}
}

// returned says how the returned token is not the one of the state, "" when it is.
func (e *entry) returned(s state) string {
	if e.Token == nil {
		return ""
	}
	k := e.Token
	want := s.tokens[k.ID]
	got := token{k.ID, k.Label, k.Description, k.CreatedBy, k.CreatedAt, want.digest, k.Expires, k.Resources, k.Inactive, k.Version}
	if e.Kind == "generate" {
		sum := sha256.Sum256([]byte(e.Secret))
		got.digest = hex.EncodeToString(sum[:])
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Sprintf("returned was %+v, to be expected was %+v", got, want)
	}
	return ""
}

func (j *judge) chains(t testing.TB) {
	streams := make(map[events.StreamID]bool)
	for i := range j.records {
		streams[j.records[i].Stream] = true
		for _, e := range j.entries {
			if e.Secret != "" && strings.Contains(string(j.records[i].Data), e.Secret[len("oat_"):]) {
				t.Errorf("a secret stands in the log, at %d", j.records[i].Position)
			}
		}
	}
	for stream := range streams {
		if _, err := events.VerifyChain(context.Background(), j.log, stream); err != nil {
			t.Error(err)
		}
	}
}

// ends compares what the players saw in the end with what is there.
func (j *judge) ends(t testing.TB) {
	anew := newViews()
	runner, err := projection.NewRunner(projection.RunnerConfig{Log: j.log, Projections: anew.all()})
	if err == nil {
		err = runner.CatchUp(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	j.processes = []*process{{clock: &clock{shown: []time.Time{time.Now().UTC()}}}}
	j.sameTokens(t, anew)
	for _, e := range j.last {
		if e.Position != anew.tokens.Position() {
			t.Errorf("%s ended at position %d, the log at %d", e.ID, e.Position, anew.tokens.Position())
		}
		if e.Portrait != anew.summary() {
			t.Errorf("%s followed:\n%s\nbegun anew:\n%s", e.ID, difference(e.Portrait, anew.summary()), difference(anew.summary(), e.Portrait))
		}
		for id, opens := range e.Opens {
			if want := j.opensAt(id, e.End); opens != want {
				t.Errorf("%s: token %s opens: %t, by the rules %t", e.ID, id, opens, want)
			}
		}
	}
}

// opensAt tells whether a token's secret is to open in the end, at a time.
func (j *judge) opensAt(id string, at time.Time) bool {
	for _, h := range j.orgs {
		if k, ok := h.last().tokens[id]; ok {
			return k.changeable(at) && j.rules.limits[h.last().plan] > 0
		}
	}
	return false
}

// summary is what the read models say, without anything that depends on the time.
func (v *views) summary() string {
	var b strings.Builder
	for _, o := range v.tokens.Organizations() {
		all := map[string]any{
			"organization": o, "tokens": v.tokens.List(o.Name, projection.Query{}), "story": v.history.Organization(o.Name, projection.Span{}),
		}
		for _, k := range v.tokens.List(o.Name, projection.Query{}).Tokens {
			if use, ok := v.lastUsed.Of(o.Name, k.ID); ok {
				all["use of "+k.ID.String()] = use
			}
		}
		for _, what := range slices.Sorted(maps.Keys(all)) {
			data, err := json.Marshal(all[what])
			fmt.Fprintf(&b, "%s %s: %s %v\n", o.Name, what, data, err)
		}
	}
	return b.String()
}
