package main

import (
	"time"

	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/oat"
)

// defaultExpiry is used where none is asked for. A token that lives for ever has to
// be asked for.
const defaultExpiry = "720h"

const expiryHelp = "when the token stops to work: after a `time` like 720h; at the beginning (UTC) of a day like 2027-01-31; " +
	"at an instant like 2027-01-31T18:00:00Z; or never"

// parseExpiry reads --expires. A day means its beginning, because a token had better
// end hours before somebody expects it than hours after.
func parseExpiry(text string, now time.Time) (oat.Expiry, error) {
	if text == "never" {
		return oat.Never(), nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return oat.ExpiresAt(now.Add(d)), nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return oat.ExpiresAt(day), nil
	}
	if expiry, err := oat.ParseExpiry(text); err == nil {
		return expiry, nil
	}
	return oat.Expiry{}, cli.Usagef("--expires %q: want a time like 720h, a day like 2027-01-31, an instant like 2027-01-31T18:00:00Z, or never", text)
}
