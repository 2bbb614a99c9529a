package registryauth

import (
	"fmt"
	"slices"
	"strings"
)

// Limits of what a client may ask for.
const (
	MaxScopes = 50  // scopes of one request, repeated ones included
	MaxScope  = 512 // bytes of one scope
)

// access is some actions on one resource, as clients ask for them and as JWTs grant
// them.
type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// String is the access as a scope.
func (a access) String() string {
	return a.Type + ":" + a.Name + ":" + strings.Join(a.Actions, ",")
}

// scopeString is accesses as one scope parameter.
func scopeString(all []access) string {
	scopes := make([]string, len(all))
	for i, a := range all {
		scopes[i] = a.String()
	}
	return strings.Join(scopes, " ")
}

// parseScopes reads scope parameters. What is asked for one resource in several
// scopes comes as one access, at the place of the first; actions come once.
func parseScopes(params []string) ([]access, error) {
	var found []access
	count := 0
	for _, param := range params {
		for text := range strings.SplitSeq(param, " ") {
			if text == "" {
				continue
			}
			if count++; count > MaxScopes {
				return nil, fmt.Errorf("more than %d scopes", MaxScopes)
			}
			a, err := parseScope(text)
			if err != nil {
				return nil, err
			}
			found = merge(found, a)
		}
	}
	return found, nil
}

// parseScope reads one scope. Only a scope without a type and a name between colons is malformed:
// what is odd about the rest is not granted, and does not keep other scopes from being granted.
func parseScope(text string) (access, error) {
	first, last := strings.IndexByte(text, ':'), strings.LastIndexByte(text, ':')
	if len(text) > MaxScope {
		return access{}, fmt.Errorf("a scope has more than %d bytes", MaxScope)
	}
	if first == last || first == 0 || first+1 == last {
		return access{}, fmt.Errorf("malformed scope, want type:name:actions")
	}
	a := access{Type: withoutClass(text[:first]), Name: text[first+1 : last]}
	for action := range strings.SplitSeq(text[last+1:], ",") {
		if action != "" && !slices.Contains(a.Actions, action) {
			a.Actions = append(a.Actions, action)
		}
	}
	return a, nil
}

// withoutClass returns a resource type without its class, which is deprecated and follows the type
// in parentheses.
func withoutClass(kind string) string {
	base, class, found := strings.Cut(kind, "(")
	if found && base != "" && class != "" && strings.IndexByte(class, ')') == len(class)-1 {
		return base
	}
	return kind
}

// merge adds an access to those found before it.
func merge(found []access, a access) []access {
	for i := range found {
		if found[i].Type != a.Type || found[i].Name != a.Name {
			continue
		}
		for _, action := range a.Actions {
			if !slices.Contains(found[i].Actions, action) {
				found[i].Actions = append(found[i].Actions, action)
			}
		}
		return found
	}
	return append(found, a)
}

// unusual reports whether no name of a resource has this character, or whether it would end a
// quoted string in a header.
func unusual(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' || r == ',' }
