package console

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// form is what was typed about a token, to generate or to edit it, exactly as it was
// typed, so that it can be shown again.
type form struct {
	Label, Description string
	Expires, Date      string // one of terms, and the day for "date"
	Access             string // "public", "all" or "selected"
	AllLevel           string // of all repositories: "read" or "write"
	Rows               []repositoryRow
	Focus              int // the row that was just added, -1 for none
}

// repositoryRow is one selected repository.
type repositoryRow struct {
	Repository, Level string
	Problem           string
}

// The values of fields that are chosen and not typed.
const (
	accessPublic   = "public"
	accessAll      = "all"
	accessSelected = "selected"
	levelRead      = "read"
	levelWrite     = "write"
	termNever      = "never"
	termDate       = "date"
	defaultTerm    = "30"
)

// terms are how long a token may live, in days, and the two other choices.
func terms(chosen string) []choice {
	all := []choice{
		{"7", "7 days", false}, {"30", "30 days", false}, {"60", "60 days", false}, {"90", "90 days", false}, {"365", "365 days", false},
		{termDate, "On a date", false}, {termNever, "Never", false},
	}
	for i := range all {
		all[i].Chosen = all[i].Value == chosen
	}
	return all
}

// emptyForm is the form before anything was typed.
func emptyForm() form {
	return form{Expires: defaultTerm, AllLevel: levelRead, Rows: []repositoryRow{{Level: levelRead}}, Focus: -1}
}

// maxRows is how many rows a posted form is read with: one too many, so that a form that
// was not made by these pages is refused for it.
const maxRows = quota.MaxRepositories + 1

// readForm takes what was posted.
func readForm(values url.Values) form {
	f := form{
		Label: text(values.Get("label")), Description: text(values.Get("description")),
		Expires: text(values.Get("expires")), Date: text(values.Get("date")),
		Access: text(values.Get("access")), AllLevel: text(values.Get("all-level")), Focus: -1,
	}
	levels := values["level"]
	for i, repository := range values["repository"] {
		if i == maxRows {
			break
		}
		row := repositoryRow{Repository: strings.TrimSpace(text(repository)), Level: levelRead}
		if i < len(levels) {
			row.Level = text(levels[i])
		}
		f.Rows = append(f.Rows, row)
	}
	return f
}

// text is what was typed, as text, with the line ends that everything else uses. What is
// no text is refused by the service, because of the U+FFFD in its place.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\r\n", "\n")
}

// rearrange does what the buttons for adding and removing a repository ask for, and
// tells whether one of them was pressed.
func (f *form) rearrange(values url.Values) bool {
	if _, add := values["add"]; add {
		f.Access = accessSelected
		if len(f.Rows) < quota.MaxRepositories {
			f.Focus = len(f.Rows)
			f.Rows = append(f.Rows, repositoryRow{Level: levelRead})
		}
		return true
	}
	if removed, ok := values["remove"]; ok {
		if i, err := strconv.Atoi(removed[0]); err == nil && i >= 0 && i < len(f.Rows) {
			f.Rows = slices.Delete(f.Rows, i, i+1)
		}
		return true
	}
	return false
}

// expiry is what was chosen, and what is wrong with it.
func (f *form) expiry(now time.Time) (oat.Expiry, string) {
	switch f.Expires {
	case termNever:
		return oat.Never(), ""
	case termDate:
		date, err := time.Parse(time.DateOnly, f.Date)
		if err != nil {
			return oat.Expiry{}, "Choose the day on which the token expires, written like 2027-01-31."
		}
		// The token works until the end of that day.
		end := oat.ExpiresAt(date.Add(24*time.Hour - time.Second))
		if end.Reached(now) {
			return oat.Expiry{}, "Choose a day that has not passed."
		}
		return end, ""
	}
	if slices.ContainsFunc(terms(""), func(c choice) bool { return c.Value == f.Expires }) {
		days, _ := strconv.Atoi(f.Expires)
		return oat.ExpiresAt(now.Add(time.Duration(days) * 24 * time.Hour).Truncate(time.Second)), ""
	}
	return oat.Expiry{}, "Choose when the token expires."
}

// level is what was chosen, 0 for what is no choice.
func level(value string) oat.Level {
	switch value {
	case levelRead:
		return oat.Read
	case levelWrite:
		return oat.ReadWrite
	}
	return 0
}

// resources is the access that was chosen. The numbers are the rows that the resources
// come from.
func (f *form) resources(organization string) (all []oat.Resource, rows []int) {
	switch f.Access {
	case accessPublic:
		return []oat.Resource{oat.Public()}, nil
	case accessAll:
		return []oat.Resource{oat.All(organization, level(f.AllLevel))}, nil
	case accessSelected:
		for i, row := range f.Rows {
			if row.Repository != "" {
				all = append(all, oat.Repository(repositoryPath(organization, row.Repository), level(row.Level)))
				rows = append(rows, i)
			}
		}
	}
	return all, rows
}

// repositoryPath lets owners leave the organization's name out. A name with a slash is
// taken as it is: to complete it, too, would make two things of one spelling.
func repositoryPath(organization, name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return organization + "/" + name
}

// formOf is the form of a token there is.
func formOf(organization, label, description string, resources []events.Resource) form {
	f := form{Label: label, Description: text(description), AllLevel: levelRead, Focus: -1}
	f.setAccess(organization, resources)
	return f
}

func (f *form) setAccess(organization string, resources []events.Resource) {
	f.Access, f.Rows = accessSelected, nil
	for _, r := range resources {
		level := levelRead
		if slices.Contains(r.Scopes, oat.ScopePush) {
			level = levelWrite
		}
		switch r.Path {
		case oat.PathPublic:
			f.Access = accessPublic
		case organization + "/*":
			f.Access, f.AllLevel = accessAll, level
		default:
			f.Rows = append(f.Rows, repositoryRow{Repository: r.Path, Level: level})
		}
	}
	if len(f.Rows) == 0 {
		f.Rows = []repositoryRow{{Level: levelRead}}
	}
}

// problem is one thing that is wrong, told at its field and in the summary, which links
// to the element with the id.
type problem struct{ ID, Text string }

// problems are what is wrong with a form. The names of fields are ids of elements.
type problems []problem

func (p *problems) add(id, text string) {
	if text != "" {
		*p = append(*p, problem{id, text})
	}
}

// Of is what is wrong with one field, "" when nothing is.
func (p problems) Of(id string) string {
	for _, problem := range p {
		if problem.ID == id {
			return problem.Text
		}
	}
	return ""
}

// rowID is the id of a row's input element.
func rowID(i int) string { return "repository-" + strconv.Itoa(i) }

// check finds what the pages know to be wrong and the domain does not, because what is
// chosen in the form has no such thing.
func (f *form) check(organization string) (found problems) {
	if f.Access != accessPublic && f.Access != accessAll && f.Access != accessSelected {
		found.add("access", "Choose what the token can access.")
	}
	if f.Access == accessAll && level(f.AllLevel) == 0 {
		found.add("all-level", "Choose read, or read and write.")
	}
	if f.Access != accessSelected {
		return found
	}
	resources, rows := f.resources(organization)
	if len(resources) == 0 {
		found.add("repositories", "Name at least one repository.")
	}
	if len(resources) > quota.MaxRepositories {
		found.add("repositories", fmt.Sprintf("More than %d repositories are selected. For so many, choose all repositories.", quota.MaxRepositories))
		return found
	}
	first := make(map[string]bool)
	for i, r := range resources {
		row := &f.Rows[rows[i]]
		switch {
		case strings.Contains(r.Path, "*"):
			row.Problem = "An asterisk stands for no repository here. Name one, or choose all repositories above."
		case first[r.Path]:
			row.Problem = r.Path + " is selected twice."
		case len(r.Scopes) == 0:
			row.Problem = "Choose read, or read and write."
		}
		found.add(rowID(rows[i]), row.Problem)
		first[r.Path] = true
	}
	return found
}

// understand puts what the domain found wrong to the fields of the form.
func (f *form) understand(organization string, found oat.ValidationErrors) (all problems) {
	_, rows := f.resources(organization)
	for _, e := range found {
		var i int
		switch {
		case e.Field == "label":
			all.add("label", "The label "+e.Problem+".")
		case e.Field == "description":
			all.add("description", "The description "+e.Problem+".")
		case e.Field == "expires_at":
			all.add("expires", "Choose when the token expires: "+e.Problem+".")
		case parseIndex(e.Field, &i) && i < len(rows):
			row := &f.Rows[rows[i]]
			if row.Problem != "" {
				continue
			}
			row.Problem = "This is not the name of a repository of " + organization + ". Write it like " + organization + "/api, in lower case."
			all.add(rowID(rows[i]), row.Problem)
		case len(rows) == 0:
			all.add("access", "Choose what the token can access: "+e.Problem+".")
		}
	}
	return all
}

func parseIndex(field string, i *int) bool {
	n, err := fmt.Sscanf(field, "resources[%d]", i)
	return n == 1 && err == nil && *i >= 0
}
