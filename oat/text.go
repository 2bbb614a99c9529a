package oat

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
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

// CleanText returns a text that a person typed as it is compared, stored and looked up: in
// Unicode's normalization form C and without white space around it. Two spellings of one
// text that only differ in these are one text. The [Service] cleans every name, label,
// description and reason that it is given; a host that looks names up itself, in its
// accounts for example, cleans them first. The package comment has the rule that a cleaned
// text must keep.
func CleanText(s string) string { return strings.TrimSpace(norm.NFC.String(s)) }

// UserProblem returns why a name cannot be a user's, in words for a person, and "" when it
// can. The name is one that [CleanText] returned.
func UserProblem(name string) string {
	if strings.HasPrefix(name, hostPrefix) {
		return `must not begin with "host:"`
	}
	return nameProblem(name, 1, maxUser)
}

// OrganizationProblem returns why a name cannot be an organization's, in words for a
// person, and "" when it can. The name is one that [CleanText] returned.
func OrganizationProblem(name string) string {
	if name == "" {
		return "is required"
	}
	if len(name) > MaxOrganization || !isComponent(name) {
		return fmt.Sprintf("want at most %d lower-case letters and digits, with single . or _ or any number of - between them", MaxOrganization)
	}
	return secretProblem(name)
}

// nameProblem returns what is wrong with a name of minimum to maximum characters.
func nameProblem(s string, minimum, maximum int) string {
	return characterProblem(s, minimum, maximum, func(_ int, r rune) bool { return unicode.IsPrint(r) && !isInvisible(r) })
}

// textProblem returns what is wrong with a text of one line.
func textProblem(s string, minimum, maximum int) string {
	return characterProblem(s, minimum, maximum, func(i int, r rune) bool { return unicode.IsGraphic(r) && !isInvisible(r) || joins(s, i, r) })
}

// proseProblem returns what is wrong with a text of several lines, which may be missing.
func proseProblem(s string, maximum int) string {
	return characterProblem(s, 0, maximum, func(i int, r rune) bool {
		return unicode.IsGraphic(r) && !isInvisible(r) || joins(s, i, r) || r == '\n' || r == '\r' || r == '\t'
	})
}

// characterProblem returns what is wrong with a text in which certain characters are
// allowed. allowed gets each of them with its index.
func characterProblem(s string, minimum, maximum int, allowed func(int, rune) bool) string {
	switch n := utf8.RuneCountInString(s); {
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	case n < minimum:
		return "is required"
	case n > maximum:
		return fmt.Sprintf("has %d characters, at most %d are allowed", n, maximum)
	}
	visible := s == ""
	for i, r := range s {
		switch {
		case r == unicode.ReplacementChar:
			return "must not contain U+FFFD, which stands for text that was lost"
		case allowed(i, r):
		case unicode.IsControl(r):
			return "must not contain control characters"
		case r == combiningJoiner:
			return "must not contain U+034F, or more than 30 marks on one character"
		default:
			return fmt.Sprintf("must not contain %U, which cannot be seen or is not assigned", r)
		}
		visible = visible || unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S)
	}
	if !visible {
		return "has nothing in it that can be seen"
	}
	return secretProblem(s)
}

func secretProblem(s string) string {
	if ContainsSecret(s) {
		return "must not contain the secret of a token"
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
