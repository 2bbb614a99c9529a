package site

import (
	"regexp"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/oatmill/oatmill/oat"
)

// discreet formats what the registry logs without what opens: queries, in which some
// clients send tokens, and secrets that somebody wrote where they do not belong.
type discreet struct {
	logrus.Formatter
	secret *regexp.Regexp
}

func newDiscreet() discreet {
	return discreet{new(logrus.TextFormatter), regexp.MustCompile(`(?i)` + regexp.QuoteMeta(oat.DefaultPrefix) + `[a-z0-9_-]+`)}
}

// Format is given a copy of the entry.
func (d discreet) Format(entry *logrus.Entry) ([]byte, error) {
	for _, field := range []string{"http.request.uri", "http.request.referer"} {
		if address, ok := entry.Data[field].(string); ok {
			entry.Data[field], _, _ = strings.Cut(address, "?")
		}
	}
	line, err := d.Formatter.Format(entry)
	return d.secret.ReplaceAll(line, []byte(oat.DefaultPrefix+"...")), err
}
