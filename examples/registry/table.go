package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/projection"
)

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// table writes rows in columns.
func table(w io.Writer, rows ...[]string) error {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(columns, strings.Join(row, "\t"))
	}
	return columns.Flush() // also tells of what Fprintln could not write
}

func writeList(w io.Writer, list *tokenList) error {
	fmt.Fprintf(w, "%d of %d tokens (plan %s): %d active, %d inactive, %d expired\n",
		list.Total, list.Limit, list.Plan, list.Active, list.Inactive, list.Expired)
	if list.Total == 0 {
		return nil
	}
	fmt.Fprintln(w)
	rows := [][]string{{"LABEL", "ID", "STATE", "ACCESS", "CREATED BY", "LAST USED", "REFUSED", "EXPIRES"}}
	for _, t := range list.Tokens {
		rows = append(rows, []string{
			printable(t.Label), t.ID.String(), string(t.State), accessInBrief(t.Organization, t.Resources),
			printable(t.CreatedBy), instant(t.LastUsedAt), fmt.Sprint(t.Refused.Count), instant(t.Expires),
		})
	}
	return table(w, rows...)
}

func writeToken(w io.Writer, t *tokenView) error {
	rows := [][]string{
		{"label", printable(t.Label)},
		{"id", t.ID.String()},
		{"organization", t.Organization},
		{"state", string(t.State)},
	}
	if t.Description != "" {
		rows = append(rows, []string{"description", printable(t.Description)})
	}
	for i, r := range t.Resources {
		name := "access"
		if i > 0 {
			name = ""
		}
		rows = append(rows, []string{name, resourceInWords(t.Organization, r)})
	}
	rows = append(rows,
		[]string{"created", instant(t.CreatedAt) + " by " + printable(t.CreatedBy)},
		[]string{"modified", instant(t.ModifiedAt) + " by " + printable(t.ModifiedBy)},
		[]string{"expires", instant(t.Expires)},
		[]string{"used", useInWords(t.Accepted)},
		[]string{"refused", useInWords(t.Refused)})
	return table(w, rows...)
}

// useInWords sums up attempts of one outcome. The user agent is what a client said
// of itself, and is quoted because it may say anything.
func useInWords(u events.UseSpan) string {
	if u.Count == 0 {
		return "never"
	}
	words := fmt.Sprintf("%s, last %s", counted(u.Count, "time"), instant(u.Last))
	if u.Address != "" {
		words += " from " + printable(u.Address)
	}
	if u.UserAgent != "" {
		words += fmt.Sprintf(" by %q", printable(u.UserAgent))
	}
	if u.Cause != "" {
		words += ", because: " + printable(u.Cause)
	}
	return words
}

// writeStory writes entries one below the other, oldest first.
func writeStory(w io.Writer, story *projection.Story) error {
	for i := range story.Entries {
		e := &story.Entries[i]
		line := fmt.Sprintf("%s  %s %s", instant(e.Time), printable(e.Actor), entryInWords(e))
		if e.Reason != "" {
			line += fmt.Sprintf(" (reason: %s)", printable(e.Reason))
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}
