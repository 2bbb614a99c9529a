package events

import (
	"fmt"
	"time"
)

// UseView is a [Use] as it stands in a record: its texts are parts of the record's data as
// far as they have no escapes, and not to be changed.
type UseView struct {
	Token             []byte
	Accepted, Refused SpanView
}

// SpanView is a [UseSpan] as it stands in a record, all zero when there is none.
type SpanView struct {
	First, Last               time.Time
	Count                     int64
	Cause, Address, UserAgent []byte

	there bool
}

// Uses are the uses that a [UsageRecorded] tells of, appended to room. They are what
// [Recorded.Payload] has, and reading them allocates nothing as long as room is large
// enough and no text has escapes: most records of a log are of use, and who adds them up
// keeps nothing of them. What cannot be read is [ErrDamaged], and so is a record of another type.
func (r *Recorded) Uses(room []UseView) ([]UseView, error) {
	if r.Type != TypeUsageRecorded {
		return room, r.place(fmt.Errorf("%w: %s is no record of use", ErrDamaged, r.Type))
	}
	c := cursor{data: r.Data}
	if uses, ok := c.usage(room); ok {
		return uses, nil
	}
	p, err := r.Payload()
	if err != nil {
		return room, err
	}
	for _, u := range p.(*UsageRecorded).Uses {
		room = append(room, UseView{[]byte(u.Token), u.Accepted.view(), u.Refused.view()})
	}
	return room, nil
}

func (s *UseSpan) view() SpanView {
	if s == nil {
		return SpanView{}
	}
	return SpanView{s.First, s.Last, s.Count, []byte(s.Cause), []byte(s.Address), []byte(s.UserAgent), true}
}

// usage reads the data of a UsageRecorded and appends its uses to room.
func (c *cursor) usage(room []UseView) ([]UseView, bool) {
	uses := room
	if !c.skip(`{"uses":[`) {
		return room, false
	}
	for c.more(len(uses) - len(room)) {
		uses = append(uses, UseView{})
		u := &uses[len(uses)-1]
		if !(c.skip(`{"token":`) && c.bytes(&u.Token) &&
			(!c.skip(`,"accepted":`) || c.span(&u.Accepted)) &&
			(!c.skip(`,"refused":`) || c.span(&u.Refused)) && c.next('}')) {
			return room, false
		}
	}
	return uses, c.next(']') && c.end('}')
}

func (c *cursor) span(s *SpanView) bool {
	s.there = true
	return c.skip(`{"first":`) && c.instant(&s.First) && c.skip(`,"last":`) && c.instant(&s.Last) &&
		c.skip(`,"count":`) && c.count(&s.Count) &&
		(!c.skip(`,"cause":`) || c.bytes(&s.Cause)) &&
		(!c.skip(`,"address":`) || c.bytes(&s.Address)) &&
		(!c.skip(`,"user_agent":`) || c.bytes(&s.UserAgent)) && c.next('}')
}

// usageRecorded reads the same into a payload, in memory of its own.
func (c *cursor) usageRecorded() (Payload, bool) {
	var room [3]UseView
	views, ok := c.usage(room[:0])
	if !ok {
		return nil, false
	}
	p := &UsageRecorded{Uses: make([]Use, len(views))}
	for i := range views {
		v := &views[i]
		p.Uses[i] = Use{string(v.Token), v.Accepted.keep(), v.Refused.keep()}
	}
	return p, true
}

// keep is the span in memory of its own, nil when there is none.
func (v *SpanView) keep() *UseSpan {
	if !v.there {
		return nil
	}
	return &UseSpan{v.First, v.Last, v.Count, string(v.Cause), string(v.Address), string(v.UserAgent)}
}
