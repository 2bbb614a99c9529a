package oat_test

import (
	"strings"
	"testing"

	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// A verifier with other plans than the service would refuse tokens that were just
// generated, as if their secrets were wrong. Break it by dropping the comparison in New.
func TestServiceAndVerifierHaveTheSamePlans(t *testing.T) {
	starter := func(tokens int) quota.Plans { return quota.Plans{"starter": {Tokens: tokens}} }
	for name, test := range map[string]struct {
		service, verifier quota.Plans
		fits              bool
	}{
		"Docker's, unsaid":  {nil, nil, true},
		"Docker's, by name": {nil, quota.Docker(), true},
		"the host's":        {starter(3), starter(3), true},
		"one side's only":   {starter(3), nil, false},
		"another limit":     {starter(3), starter(0), false},
	} {
		verifier := oat.NewVerifier(oat.VerifierConfig{Plans: test.verifier})
		_, err := oat.New(oat.Config{Log: memlog.New(), Plans: test.service, Verifier: verifier})
		if (err == nil) != test.fits || err != nil && !strings.Contains(err.Error(), "Config.Verifier") {
			t.Errorf("%s: %v, want it to fit: %t", name, err, test.fits)
		}
	}
}
