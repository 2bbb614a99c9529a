package events_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
)

const (
	tokenID = "0190b1c2-7d3e-4f5a-8b9c-0d1e2f3a4b5c"
	odd     = "<a href=\"x\">&\\/ 'é' 😀\t\n\u2028\u007f\u0001"
)

func pointer(s string) *string { return &s }

// golden are the payloads that stand in testdata, one file for each name of an event
// and one line for each payload.
//
// The files are what the logs of this world hold. They are never edited: a payload
// and a line may be added at the end, and a new version of an event gets a new name and a
// new file. If this test fails, the code is wrong, and not the file.
func golden() map[string][]events.Payload {
	first := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	last := time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC)
	read := []string{"scope-image-pull"}
	all := []events.Resource{{Type: "TYPE_REPO", Path: "acme/*", Scopes: read}}
	two := []events.Resource{
		{Type: "TYPE_REPO", Path: "acme/api", Scopes: []string{"scope-image-pull", "scope-image-push"}},
		{Type: "TYPE_REPO", Path: "*/*/public", Scopes: read},
	}
	digest := events.Hash{0: 0x01, 1: 0xab, 31: 0xff}
	return map[string][]events.Payload{
		events.TypeOrganizationRegistered: {
			&events.OrganizationRegistered{Plan: "team", Owners: []string{"alice"}},
			&events.OrganizationRegistered{Plan: "business", Owners: []string{"alice", "bob", odd}},
			&events.OrganizationRegistered{Owners: []string{}},
		},
		events.TypeOrganizationPlanChanged:  {&events.OrganizationPlanChanged{Plan: "business"}, &events.OrganizationPlanChanged{Plan: odd}},
		events.TypeOrganizationOwnerAdded:   {&events.OrganizationOwnerAdded{Owner: "bob"}, &events.OrganizationOwnerAdded{Owner: odd}},
		events.TypeOrganizationOwnerRemoved: {&events.OrganizationOwnerRemoved{Owner: "alice"}, &events.OrganizationOwnerRemoved{Owner: odd}},
		events.TypeTokenGenerated: {
			&events.TokenGenerated{Token: tokenID, Label: "ci", Description: "builds", Digest: digest, ExpiresAt: "2027-01-31T00:00:00Z", Resources: all},
			&events.TokenGenerated{Token: tokenID, Label: "ci", Digest: digest, Resources: two},
			&events.TokenGenerated{Token: tokenID, Label: odd, Description: odd, ExpiresAt: "2027-01-31T00:00:00.5+02:00", Resources: []events.Resource{}},
			&events.TokenGenerated{Token: tokenID, Label: "über", Resources: []events.Resource{{Scopes: []string{}}, {Type: "TYPE_OTHER", Path: odd, Scopes: []string{"", odd}}}},
		},
		events.TypeTokenEdited: {
			&events.TokenEdited{Token: tokenID, Label: pointer("release")},
			&events.TokenEdited{Token: tokenID, Description: pointer("")},
			&events.TokenEdited{Token: tokenID, Resources: two},
			&events.TokenEdited{Token: tokenID, Label: pointer(odd), Description: pointer("x"), Resources: all},
			&events.TokenEdited{Token: tokenID},
		},
		events.TypeTokenDeactivated: {&events.TokenDeactivated{Token: tokenID}},
		events.TypeTokenDeleted:     {&events.TokenDeleted{Token: tokenID}},
		events.TypeUsageRecorded: {
			&events.UsageRecorded{Uses: []events.Use{{Token: tokenID, Accepted: &events.UseSpan{First: first, Last: last, Count: 12, Address: "192.0.2.1", UserAgent: "docker/28.2.2 (linux)"}}}},
			&events.UsageRecorded{Uses: []events.Use{
				{Token: tokenID, Refused: &events.UseSpan{First: last, Last: last, Count: 1, Cause: "inactive", Address: "2001:db8::1", UserAgent: odd}},
				{Token: "other", Accepted: &events.UseSpan{First: first, Last: first, Count: 999_999_999_999_999_999}, Refused: &events.UseSpan{First: first, Last: last}},
				{Token: ""},
			}},
			&events.UsageRecorded{Uses: []events.Use{}},
		},
	}
}

func TestGoldenFiles(t *testing.T) {
	for name, payloads := range golden() {
		content, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Error(err)
			continue
		}
		lines := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
		if len(lines) != len(payloads) {
			t.Errorf("%s: %d lines, %d payloads", name, len(lines), len(payloads))
		}
		for i := range min(len(lines), len(payloads)) {
			checkGolden(t, name, lines[i], payloads[i])
		}
	}
}

// checkGolden reads the line and writes the payload.
func checkGolden(t *testing.T, name, line string, payload events.Payload) {
	t.Helper()
	got, err := events.Decode(name, []byte(line))
	if err != nil || !reflect.DeepEqual(got, payload) {
		t.Errorf("%s: Decode of\n%s is\n%+v, %v, want\n%+v", name, line, got, err, payload)
	}
	// White space between the tokens is what the quick path does not take.
	got, err = events.Decode(name, []byte(" "+line))
	if err != nil || !reflect.DeepEqual(got, payload) {
		t.Errorf("%s: Decode the long way of\n%s is\n%+v, %v, want\n%+v", name, line, got, err, payload)
	}
	eventType, data, err := events.Encode(payload)
	if err != nil || eventType != name || string(data) != line {
		t.Errorf("%s: Encode writes %s\n%s, %v, want\n%s", name, eventType, data, err, line)
	}
}

// Every name of an event in the source has its golden file, and every file belongs to a
// name.
func TestEveryTypeIsGolden(t *testing.T) {
	source, err := os.ReadFile("payloads.go")
	if err != nil {
		t.Fatal(err)
	}
	var names, files []string
	for _, match := range regexp.MustCompile(`\tType\w+ += "([^"]+)"`).FindAllSubmatch(source, -1) {
		names = append(names, string(match[1])+".json")
	}
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !entry.IsDir() { // fuzzing keeps what it finds in folders
			files = append(files, entry.Name())
		}
	}
	slices.Sort(names)
	if len(names) == 0 || !slices.Equal(names, files) {
		t.Errorf("payloads.go names the files %q, testdata has %q", names, files)
	}
	for name, payloads := range golden() {
		for _, p := range payloads {
			if p.EventType() != name {
				t.Errorf("a payload of %s stands under %s", p.EventType(), name)
			}
		}
	}
}

// Every line is one that a log takes.
func TestGoldenFilesAreValid(t *testing.T) {
	for name, payloads := range golden() {
		for i, p := range payloads {
			e, err := events.NewEnvelope([16]byte{15: byte(i + 1)}, time.Unix(1, 1999).In(time.FixedZone("", 60)), "alice", p)
			if err != nil {
				t.Fatal(err)
			}
			if err := events.Validate(acme, 0, []events.Envelope{e}); err != nil || e.Type != name || !json.Valid(e.Data) {
				t.Errorf("%s: %v: %v", name, e, err)
			}
		}
	}
}
