package events

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func usageRecord(data string) *Recorded {
	r := &Recorded{Stream: "usage/acme", Position: 42}
	r.Type, r.Data = TypeUsageRecorded, []byte(data)
	return r
}

// sameUses demands that the record's uses, read in place, are those of its payload.
func sameUses(t *testing.T, data []byte) {
	t.Helper()
	before := UseView{Token: []byte("before")}
	r := usageRecord(string(data))
	got, gotErr := r.Uses([]UseView{before})
	p, wantErr := r.Payload()
	if (gotErr == nil) != (wantErr == nil) {
		t.Fatalf("Uses of %q ends with %v, Payload with %v", data, gotErr, wantErr)
	}
	if len(got) == 0 || !reflect.DeepEqual(got[0], before) {
		t.Fatalf("Uses of %q has lost what was in the room", data)
	}
	want := []UseView{before}
	if gotErr == nil {
		for _, u := range p.(*UsageRecorded).Uses {
			want = append(want, UseView{[]byte(u.Token), u.Accepted.view(), u.Refused.view()})
		}
	}
	// Printed, nil and an empty text are the same, as they are to readers.
	if show(got) != show(want) {
		t.Fatalf("Uses of %q are\n%s, Payload has\n%s", data, show(got), show(want))
	}
}

func show(uses []UseView) string {
	var b strings.Builder
	for _, u := range uses {
		for _, s := range []SpanView{u.Accepted, u.Refused} {
			fmt.Fprintf(&b, "%q %t %v %v %d %q %q %q\n", u.Token, s.there, s.First, s.Last, s.Count, s.Cause, s.Address, s.UserAgent)
		}
	}
	return b.String()
}

// Uses are those of the payload, in the layout that Encode writes and in any other.
//
// Leaving out the check of the type makes this fail, and so does taking the accepted span
// for the refused one where the layout is not Encode's.
func TestUses(t *testing.T) {
	for _, line := range append(lines(t, TypeUsageRecorded), seeds()...) {
		sameUses(t, []byte(line))
	}
	damaged := usageRecord(`{"uses":[{"token":"t"},{"token":7}]}`)
	if got, err := damaged.Uses(nil); got != nil || !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "position 42 in usage/acme") {
		t.Errorf("Uses of a damaged record are %v, %v", got, err)
	}
	other := usageRecord(`{"token":"t"}`)
	other.Type = TypeTokenDeleted
	if got, err := other.Uses(nil); got != nil || !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), TypeTokenDeleted) {
		t.Errorf("Uses of a deletion are %v, %v", got, err)
	}
}

const twoUses = `{"uses":[{"token":"a","accepted":{"first":"2026-01-02T03:04:05Z","last":"2026-01-02T03:04:05Z","count":1,"address":"10.0.0.1","user_agent":"docker"}},` +
	`{"token":"b","refused":{"first":"2026-01-02T03:04:05Z","last":"2026-01-02T03:04:05Z","count":1,"cause":"inactive"}}]}`

// Giving the texts the capacity of the data makes this fail.
func TestUsesKeepTheRecord(t *testing.T) {
	r := usageRecord(twoUses)
	uses, err := r.Uses(nil)
	if err != nil || len(uses) != 2 {
		t.Fatalf("Uses are %v, %v", uses, err)
	}
	for _, text := range [][]byte{uses[0].Token, uses[0].Accepted.Address, uses[0].Accepted.UserAgent, uses[1].Refused.Cause} {
		_ = append(text, "overwritten"...)
	}
	if string(r.Data) != twoUses {
		t.Errorf("appending to a text of a use wrote %s", r.Data)
	}
}

// Making a text a string makes this fail.
func TestUsesAllocateNothing(t *testing.T) {
	r := usageRecord(twoUses)
	room := make([]UseView, 0, 2)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := r.Uses(room); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Uses allocates %v times", n)
	}
}

// Every month of every year that can be written begins and ends where package time says.
//
// Leaving out the leap years of full centuries makes this fail, and so does taking a
// February of 29 days in every year.
func TestInstantsOfAllMonths(t *testing.T) {
	for month := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC); month.Year() < 10000; month = month.AddDate(0, 1, 0) {
		end := month.AddDate(0, 1, -1)
		for day := range end.Day() + 2 {
			data := fmt.Sprintf(`"%s%02dT23:59:58.000007Z"`, month.Format("2006-01-"), day)
			c := cursor{data: []byte(data)}
			var got time.Time
			ok := c.instant(&got)
			if real := day >= 1 && day <= end.Day(); ok != real {
				t.Fatalf("%s is read: %v", data, ok)
			}
			if want := time.Date(month.Year(), month.Month(), day, 23, 59, 58, 7000, time.UTC); ok && got != want {
				t.Fatalf("%s is read as %v", data, got)
			}
			if month.Year()%100 > 4 && day == 1 {
				break // the others of an ordinary year are like those of its neighbours
			}
		}
	}
}
