package site

import (
	"strconv"
	"strings"
	"time"

	"github.com/oatmill/oatmill/examples/internal/cli"
	"github.com/oatmill/oatmill/quota"
)

// ParseRate reads what somebody gave to a flag that limits something.
func ParseRate(flag, text string) (quota.Rate, error) {
	count, window, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(count)
	d, windowErr := time.ParseDuration(window)
	if err != nil || windowErr != nil || n < 1 || d < time.Second || d%time.Second != 0 {
		return quota.Rate{}, cli.Usagef("%s %q: want a number and whole seconds, like 100/6h", flag, text)
	}
	return quota.Rate{Count: n, Window: d}, nil
}
