package registryauth

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestScopesAreSplitAtTheFirstAndTheLastColon(t *testing.T) {
	for text, want := range map[string][]access{
		"":                         nil,
		" ":                        nil,
		"repository:acme/api:pull": {{"repository", "acme/api", []string{"pull"}}},
		"repository:localhost:5000/acme/api:pull,push": {{"repository", "localhost:5000/acme/api", []string{"pull", "push"}}},
		"registry:catalog:*":                           {{"registry", "catalog", []string{"*"}}},
		"repository:a:push,pull,push repository:a:*":   {{"repository", "a", []string{"push", "pull", "*"}}},
		"repository:a:b:c:pull":                        {{"repository", "a:b:c", []string{"pull"}}},
		"a:x:pull b:x:pull a:y:pull":                   {{"a", "x", []string{"pull"}}, {"b", "x", []string{"pull"}}, {"a", "y", []string{"pull"}}},
	} {
		got, err := parseScopes([]string{text})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v %s", text, err, diff)
		}
	}
	atMost := strings.Repeat("repository:a:pull ", MaxScopes)
	if _, err := parseScopes([]string{atMost}); err != nil {
		t.Error(err)
	}
	if _, err := parseScopes([]string{atMost, "repository:a:pull"}); err == nil {
		t.Error("one more than there may be")
	}
}

// Fails if parseScope keeps the class in the type, or refuses a scope for its actions or its name.
func TestOddPartsOfAScopeAreLeftOut(t *testing.T) {
	for text, want := range map[string][]access{
		// distribution, scope.md: "resourcetype := resourcetypevalue [ '(' resourcetypevalue ')' ]",
		// and "Resource Class is deprecated and ignored."
		"repository(plugin):acme/api:pull":                {{"repository", "acme/api", []string{"pull"}}},
		"repository(image):a:pull repository:a:push":      {{"repository", "a", []string{"pull", "push"}}},
		"repository(plugin):localhost:5000/acme/api:pull": {{"repository", "localhost:5000/acme/api", []string{"pull"}}},
		"repository(:a:pull":                              {{"repository(", "a", []string{"pull"}}},
		"repository(a)b:a:pull":                           {{"repository(a)b", "a", []string{"pull"}}},
		"repository(a)(b):a:pull":                         {{"repository(a)(b)", "a", []string{"pull"}}},
		"(plugin):a:pull":                                 {{"(plugin)", "a", []string{"pull"}}},
		// distribution, scope.md: "action := /[a-z]*/".
		"repository:a:":                             {{"repository", "a", nil}},
		"repository:a:,":                            {{"repository", "a", nil}},
		"repository:a:pull,":                        {{"repository", "a", []string{"pull"}}},
		"repository:a:,,pull":                       {{"repository", "a", []string{"pull"}}},
		"repository:a: repository:a:pull":           {{"repository", "a", []string{"pull"}}},
		"repository:a:metadata_read,pull":           {{"repository", "a", []string{"metadata_read", "pull"}}},
		"repository:a:PULL,p*,pull":                 {{"repository", "a", []string{"PULL", "p*", "pull"}}},
		"repository:acme/äpi:pull":                  {{"repository", "acme/äpi", []string{"pull"}}},
		"repository:a,\"b\\:pull repository:c:pull": {{"repository", "a,\"b\\", []string{"pull"}}, {"repository", "c", []string{"pull"}}},
	} {
		got, err := parseScopes([]string{text})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v %s", text, err, diff)
		}
	}
	for _, text := range []string{"repository", "repository:acme/api", ":", "::", ":acme/api:pull", "repository::pull"} {
		if got, err := parseScopes([]string{"repository:a:pull", text}); err == nil {
			t.Errorf("%q has no resource and is read as %v", text, got)
		}
	}
}

func FuzzScope(f *testing.F) {
	for _, seed := range []string{
		"", "repository:acme/api:pull,push", "repository:h:5000/a:*  registry:catalog:*", "a:b:c a:b:d", "::", "a:b:", "repository:x:pull,,push",
		"repository:\x00:pull", "repository:ä:pull", "a:\":b", strings.Repeat("a:b:c ", MaxScopes+1), strings.Repeat(":", MaxScope+1),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseScopes([]string{text})
		if err != nil {
			return
		}
		if len(all) > MaxScopes {
			t.Fatalf("%d scopes", len(all))
		}
		for i, a := range all {
			if a.Type == "" || a.Name == "" || slices.Contains(a.Actions, "") || strings.Contains(a.String(), " ") {
				t.Fatalf("access %+v", a)
			}
			if slices.ContainsFunc(all[:i], func(b access) bool { return a.Type == b.Type && a.Name == b.Name }) {
				t.Fatalf("%+v comes twice", a)
			}
			if len(slices.Compact(slices.Sorted(slices.Values(a.Actions)))) != len(a.Actions) {
				t.Fatalf("actions come twice: %+v", a)
			}
		}
		// Merged scopes may be longer than one may be, so each is read by itself.
		for _, a := range all {
			if len(a.String()) > MaxScope {
				continue
			}
			again, err := parseScopes([]string{a.String()})
			if diff := cmp.Diff([]access{a}, again); diff != "" || err != nil {
				t.Fatalf("read again: %v %s", err, diff)
			}
		}
	})
}
