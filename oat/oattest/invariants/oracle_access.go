package invariants

import (
	"fmt"
	"hash/crc32"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
)

const component = `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`

var (
	organizationName = regexp.MustCompile(`^` + component + `$`)
	repositoryName   = regexp.MustCompile(`^` + component + `(?:/` + component + `)+$`)
	secretForm       = regexp.MustCompile(`^[0-9A-Za-z_-]{0,20}[0-9A-Za-z]{26}[0-9A-Za-z]{6}$`)
)

// isText reports whether s is a text of a length in characters, with something to see in it
// and nothing that cannot be seen other than what is allowed, and without a secret. It knows
// the texts that the tests draw.
func isText(s string, shortest, longest int, allowed string) bool {
	if n := len([]rune(s)); !utf8.ValidString(s) || n < shortest || n > longest || hasSecret(s) {
		return false
	}
	for _, c := range s {
		if (unicode.IsControl(c) || strings.ContainsRune(unseen, c)) && !strings.ContainsRune(allowed, c) {
			return false
		}
	}
	return s == "" || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsSpace(c) })
}

// unseen are the invisible characters that the tests draw, and joined is a text that may
// have one of them.
const (
	unseen = "\u200b\u200c\u200d\u202e\u2066\u2800\u3164\ufe0f\ufffd"
	joined = "می\u200cخواهم"
)

// hasSecret reports whether a secret is anywhere in a text.
func hasSecret(s string) bool {
	for i := 0; i+32 <= len(s); i++ {
		if isSecret(s[i : i+32]) {
			return true
		}
	}
	return false
}

// cleaned is a text as it is compared and recorded: without blanks around it, and with
// letters and accents in one character. It knows the accents that the tests draw.
func cleaned(s string) string {
	return strings.TrimSpace(strings.NewReplacer("e\u0301", "é", "o\u0308", "ö").Replace(s))
}

func cleanedActor(a oat.Actor) oat.Actor {
	a.User, a.Host, a.Reason = cleaned(a.User), cleaned(a.Host), cleaned(a.Reason)
	return a
}

func isLabel(s string) bool       { return cleaned(s) == joined || isText(cleaned(s), 1, 100, "") }
func isDescription(s string) bool { return cleaned(s) == joined || isText(cleaned(s), 0, 200, "\n\t") }
func isUser(s string) bool        { return isText(s, 1, 254, "") && !strings.HasPrefix(s, "host:") }
func isOrganization(s string) bool {
	return len(s) <= 64 && organizationName.MatchString(s)
}

// actorFields is what is wrong with a cleaned actor, by field.
func actorFields(a oat.Actor) (fields []string) {
	user, host := isUser(a.User) && a.Host == "", isText(a.Host, 1, 254, "") && a.User == ""
	if !user && !host {
		fields = append(fields, "actor")
	}
	if !isText(a.Correlation, 0, 254, "") {
		fields = append(fields, "correlation")
	}
	if a.Reason != joined && !isText(a.Reason, 0, 256, "") {
		fields = append(fields, "reason")
	}
	return fields
}

// resourceFields is what is wrong with the resources of a token of org, by field.
func resourceFields(org string, resources []events.Resource) (fields []string) {
	seen := make(map[string]bool)
	whole := len(resources) == 0 || len(resources) > 50
	for i, r := range resources {
		preset := r.Path == "*/*/public" || r.Path == org+"/*"
		whole = whole || seen[r.Path] || preset && len(resources) > 1
		seen[r.Path] = true
		if r.Type != "TYPE_REPO" {
			fields = append(fields, fmt.Sprintf("resources[%d].type", i))
		}
		if !preset && !isRepositoryOf(org, r.Path) {
			fields = append(fields, fmt.Sprintf("resources[%d].path", i))
		}
		if !areScopes(r.Path, r.Scopes) {
			fields = append(fields, fmt.Sprintf("resources[%d].scopes", i))
		}
	}
	if len(resources) > 50 {
		fields = nil // too many are not looked at one by one
	}
	if whole {
		fields = append(fields, "resources")
	}
	return fields
}

func areScopes(path string, scopes []string) bool {
	for i, scope := range scopes {
		known := scope == "scope-image-pull" || scope == "scope-image-push" && path != "*/*/public"
		if !known || slices.Contains(scopes[:i], scope) {
			return false
		}
	}
	return len(scopes) > 0
}

func isRepository(path string) bool { return len(path) <= 255 && repositoryName.MatchString(path) }

func isRepositoryOf(org, path string) bool {
	return isRepository(path) && strings.HasPrefix(path, org+"/")
}

// allows tells whether a token of org with these resources opens a repository for an
// action.
func allows(org string, resources []events.Resource, action oat.Action, repository string, v oat.Visibility) bool {
	return slices.ContainsFunc(resources, func(r events.Resource) bool {
		write := slices.Contains(r.Scopes, "scope-image-push")
		var covers bool
		switch r.Path {
		case "*/*/public":
			covers, write = v == oat.VisibilityPublic, false
		case org + "/*":
			covers = strings.HasPrefix(repository, org+"/")
		default:
			covers = r.Path == repository
		}
		return covers && isRepository(repository) && (action == oat.Pull || action == oat.Push && write)
	})
}

// isSecret tells whether a text has the form of a secret: 26 random characters after
// the prefix, and 6 that are their CRC-32.
func isSecret(text string) bool {
	return secretForm.MatchString(text) && sealed(text[:len(text)-6]) == text
}

// sealed is a prefix and 26 characters with the checksum they must have.
func sealed(body string) string {
	return body + base62(crc32.ChecksumIEEE([]byte(body[max(0, len(body)-26):])))
}

// base62 is n in six digits.
func base62(n uint32) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	text := ""
	for range 6 {
		text = string(digits[n%62]) + text
		n /= 62
	}
	return text
}
