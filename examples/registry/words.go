package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/projection"
)

// accessInWords is what an organization's token reaches, on one line.
func accessInWords(organization string, resources []events.Resource) string {
	words := make([]string, len(resources))
	for i, r := range resources {
		words[i] = resourceInWords(organization, r)
	}
	return strings.Join(words, ", ")
}

func resourceInWords(organization string, r events.Resource) string {
	what := r.Path
	switch r.Path {
	case oat.PathPublic:
		what = "public repositories"
	case organization + "/*":
		what = "all repositories of " + organization
	}
	if slices.Contains(r.Scopes, oat.ScopePush) {
		return what + " (read and write)"
	}
	return what + " (read)"
}

// accessInBrief is accessInWords for a column of a table.
func accessInBrief(organization string, resources []events.Resource) string {
	const enough = 2
	if len(resources) <= enough {
		return accessInWords(organization, resources)
	}
	return fmt.Sprintf("%s and %d more", accessInWords(organization, resources[:enough]), len(resources)-enough)
}

// expiryInWords says when a token ends, given its expiry as it was recorded.
func expiryInWords(expiresAt string) string {
	if expiresAt == "" {
		return "never expires"
	}
	return "expires " + instantInWords(expiresAt)
}

// instantInWords is a recorded instant as the rest of the program shows instants.
func instantInWords(text string) string {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return printable(text)
	}
	return instant(at)
}

// instant shows a time to the second, in UTC, "-" for none. Local time would make
// what two owners read to each other differ.
func instant(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// printable is text that came from outside without what a terminal would act on.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// counted is a number with its noun.
func counted(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// entryInWords is what an entry of a history says, who and when aside.
func entryInWords(e *projection.Entry) string {
	token := fmt.Sprintf("token %q (%s)", printable(e.Label), e.Token)
	switch e.Type {
	case events.TypeOrganizationRegistered:
		return "registered " + e.Organization + ": " + setInWords(e)
	case events.TypeOrganizationPlanChanged:
		return "changed the plan: " + changesInWords(e)
	case events.TypeOrganizationOwnerAdded:
		return "added an owner: " + setInWords(e)
	case events.TypeOrganizationOwnerRemoved:
		return "removed an owner: " + changesInWords(e)
	case events.TypeTokenGenerated:
		return "generated " + token + ": " + setInWords(e)
	case events.TypeTokenEdited:
		return "edited " + token + ": " + changesInWords(e)
	case events.TypeTokenDeactivated:
		return "deactivated " + token + ": " + changesInWords(e)
	case events.TypeTokenDeleted:
		return "deleted " + token + ": " + changesInWords(e)
	}
	return e.Type + ": " + changesInWords(e)
}

// setInWords tells what something new came with.
func setInWords(e *projection.Entry) string {
	var words []string
	for _, c := range e.Changes {
		if c.Field != "label" && c.Field != "state" { // the label stands before, and new tokens are active
			words = append(words, fieldInWords(c.Field)+" "+valueInWords(e.Organization, c.Field, c.To))
		}
	}
	if e.Type == events.TypeTokenGenerated && !slices.ContainsFunc(e.Changes, isExpiry) {
		words = append(words, "never expires")
	}
	return strings.Join(words, "; ")
}

func isExpiry(c projection.Change) bool { return c.Field == "expires_at" }

// changesInWords tells what became what.
func changesInWords(e *projection.Entry) string {
	words := make([]string, len(e.Changes))
	for i, c := range e.Changes {
		from, to := valueInWords(e.Organization, c.Field, c.From), valueInWords(e.Organization, c.Field, c.To)
		words[i] = fmt.Sprintf("%s from %s to %s", fieldInWords(c.Field), from, to)
	}
	return strings.Join(words, "; ")
}

func fieldInWords(field string) string {
	switch field {
	case "resources":
		return "access"
	case "expires_at":
		return "expires"
	}
	return field
}

func valueInWords(organization, field, value string) string {
	switch {
	case value == "":
		return "nothing"
	case field == "resources":
		return accessInWords(organization, parseAccess(value))
	case field == "expires_at":
		return instantInWords(value)
	case field == "label", field == "description":
		return fmt.Sprintf("%q", printable(value))
	}
	return printable(value)
}

// parseAccess reads resources as [projection.Change] writes them.
func parseAccess(text string) (resources []events.Resource) {
	for line := range strings.SplitSeq(text, "; ") {
		path, scopes, _ := strings.Cut(line, ": ")
		resources = append(resources, events.Resource{Path: path, Scopes: strings.Split(scopes, ", ")})
	}
	return resources
}
