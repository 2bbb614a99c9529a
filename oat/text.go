package oat

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what a command may say. Lengths of texts are in characters.
const (
	MaxLabel        = 100
	MaxDescription  = 200
	MaxOrganization = 64
	MaxRepository   = 255 // of "ORG/REPO", in bytes
	MaxOwners       = 100 // in one Register, which is one event of bounded size

	// These fit into [events.MaxText] bytes whatever the characters are, a user's
	// also with the "host:" before it.
	maxUser   = 254
	maxReason = 256
)

// textProblem says what keeps s from being a text of minimum to maximum characters
// without control characters; "" when nothing does.
func textProblem(s string, minimum, maximum int) string {
	return characterProblem(s, minimum, maximum, unicode.IsControl)
}

// proseProblem is textProblem for a text of several lines, which may be missing.
func proseProblem(s string, maximum int) string {
	return characterProblem(s, 0, maximum, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t'
	})
}

func characterProblem(s string, minimum, maximum int, forbidden func(rune) bool) string {
	switch n := utf8.RuneCountInString(s); {
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	case n < minimum:
		return "is required"
	case n > maximum:
		return fmt.Sprintf("has %d characters, at most %d are allowed", n, maximum)
	case strings.ContainsFunc(s, forbidden):
		return "must not contain control characters"
	}
	return ""
}

// organizationProblem says what keeps name from naming an organization.
func organizationProblem(name string) string {
	if name == "" {
		return "is required"
	}
	if len(name) > MaxOrganization || !isComponent(name) {
		return fmt.Sprintf("want at most %d lower-case letters and digits, with single . or _ or any number of - between them", MaxOrganization)
	}
	return ""
}

// isRepository tells whether s is "ORG/REPO" as registries write it: two or more
// components. Whatever decides by a repository's name asks this first, so that no
// unusual spelling gets past a comparison.
func isRepository(s string) bool {
	if len(s) > MaxRepository || !strings.Contains(s, "/") {
		return false
	}
	for component := range strings.SplitSeq(s, "/") {
		if !isComponent(component) {
			return false
		}
	}
	return true
}

// isComponent tells whether s is a path component as the distribution
// specification defines it: [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*.
func isComponent(s string) bool {
	for i := 0; ; {
		start := i
		for i < len(s) && isAlphanumeric(s[i]) {
			i++
		}
		if i == start {
			return false
		}
		if i == len(s) {
			return true
		}
		i += separator(s[i:]) // without one the next round finds nothing
	}
}

// separator is the length of the separator s begins with, 0 when it begins with
// none.
func separator(s string) int {
	dashes := len(s) - len(strings.TrimLeft(s, "-"))
	switch {
	case dashes > 0:
		return dashes
	case strings.HasPrefix(s, "__"):
		return 2
	case s[0] == '_' || s[0] == '.':
		return 1
	}
	return 0
}

func isAlphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
