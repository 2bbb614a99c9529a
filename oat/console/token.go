package console

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/projection"
)

// tokenPage is a token's own page. A token that was deleted still has one, with what is
// known of its past.
type tokenPage struct {
	frame
	ID, Name, Description string
	Status                status
	Editable              bool // otherwise it can only be deleted
	Deleted               bool
	Creator               string
	Created, Ends         instant
	Access                access
	Used, Refused         use
	Picture               *picture
	Timeline              []happening
	Earlier               int // how many things happened before those of the timeline
}

// use is how a token was used, accepted or refused.
type use struct {
	Last           instant
	Count          int64
	Times          string // the count in words
	Address, Agent string
	Cause          string
}

// timelineSize is how many things a token's page tells. It keeps the page below 100 KB,
// whatever was written about the token.
const timelineSize = 15

// token shows one token.
func (v *visit) token() {
	id, ok := v.tokenID()
	story := v.cfg.History.Token(v.org.Name, id, projection.Span{Descending: true, PageSize: timelineSize})
	if !ok || story.Total == 0 {
		v.noToken()
		return
	}
	token, exists := v.cfg.Tokens.Get(v.org.Name, id, v.now)
	if !exists {
		token, ok = v.lastState(id, story)
		if !ok {
			v.noToken()
			return
		}
	}
	p := tokenPage{
		frame: v.frame(isolated(token.Label), "tokens"), ID: id.String(), Name: token.Label, Description: token.Description,
		Status: statusOf(&token, v.now), Editable: exists && token.State == projection.Active, Deleted: !exists,
		Creator: actorInWords(token.CreatedBy), Created: v.instant(token.CreatedAt, ""), Ends: v.expiry(&token),
		Access: accessOf(v.org.Name, token.Resources), Earlier: story.Total - len(story.Entries),
	}
	if p.Deleted {
		p.Status = status{deleted, "Deleted"}
	}
	for i := range story.Entries {
		p.Timeline = append(p.Timeline, v.happening(&story.Entries[i]))
	}
	v.addUse(&p, id)
	v.render(http.StatusOK, "token", p)
}

// lastState is a deleted token as it was at last.
func (v *visit) lastState(id uuid.UUID, story projection.Story) (projection.Token, bool) {
	t := projection.Token{ID: id, Organization: v.org.Name}
	all := story.Entries
	if story.Total > len(all) {
		all = v.cfg.History.Token(v.org.Name, id, projection.Span{Descending: true}).Entries
	}
	for _, e := range slices.Backward(all) {
		if e.Type == events.TypeTokenGenerated {
			t.CreatedAt, t.CreatedBy = e.Time, e.Actor
		}
		for _, c := range e.Changes {
			switch c.Field {
			case "label":
				t.Label = c.To
			case "description":
				t.Description = c.To
			case "resources":
				t.Resources = parseAccess(c.To)
			}
		}
	}
	return t, len(all) > 0
}

func (v *visit) addUse(p *tokenPage, id uuid.UUID) {
	if p.Deleted {
		return
	}
	usage, _ := v.cfg.LastUsed.Of(v.org.Name, id)
	p.Used, p.Refused = v.use(usage.Accepted), v.use(usage.Refused)
	if v.cfg.Daily != nil {
		p.Picture = draw(v.cfg.Daily.Of(v.org.Name, id, v.now, pictureDays))
	}
}

func (v *visit) use(s events.UseSpan) use {
	return use{Last: v.instant(s.Last, "Never"), Count: s.Count, Times: counted(s.Count, "time"), Address: s.Address, Agent: s.UserAgent, Cause: s.Cause}
}

// pictureDays is how many days the picture of a token's use shows.
const pictureDays = 30

// picture is the use of a token as bars, one for each day. Its measures are those of the
// drawing; colours come from the style sheet, because the content security policy
// allows no other styles.
type picture struct {
	Width, Height int
	Bars          []bar
	First, Last   string // the days at the ends
	Words         string // what there is to see
}

type bar struct {
	X, Width           int
	Y, Height          int // of the accepted uses, from the floor up
	RefusedY, RefusedH int // of the refused ones, on top of them
	Words              string
}

const (
	barWidth      = 16
	barStep       = 20
	pictureHeight = 96
)

// draw scales the highest day to the height of the picture. A day with any use has a bar
// that can be seen.
func draw(days []projection.Day) *picture {
	p := &picture{Width: barStep * len(days), Height: pictureHeight}
	var most, accepted, refused int64
	for _, d := range days {
		most = max(most, d.Accepted+d.Refused)
		accepted, refused = accepted+d.Accepted, refused+d.Refused
	}
	for i, d := range days {
		b := bar{X: i*barStep + (barStep-barWidth)/2, Width: barWidth, Height: scale(d.Accepted, most), RefusedH: scale(d.Refused, most)}
		b.Y = pictureHeight - b.Height
		b.RefusedY = b.Y - b.RefusedH
		b.Words = day(d.Date) + ": " + usesInWords(d.Accepted, d.Refused)
		p.Bars = append(p.Bars, b)
	}
	if n := len(days); n > 0 {
		p.First, p.Last = day(days[0].Date), day(days[n-1].Date)
	}
	p.Words = fmt.Sprintf("In the last %d days: %s.", len(days), usesInWords(accepted, refused))
	return p
}

// scale is the height of n where most fills the picture. Two parts of one bar may be
// rounded up together, so a little room is left.
func scale(n, most int64) int {
	if n == 0 {
		return 0
	}
	return max(2, int(float64(n)/float64(most)*(pictureHeight-4)))
}

func usesInWords(accepted, refused int64) string {
	switch {
	case accepted == 0 && refused == 0:
		return "not used"
	case refused == 0:
		return counted(accepted, "use")
	}
	return counted(accepted, "use") + ", " + fmt.Sprintf("%d refused", refused)
}
