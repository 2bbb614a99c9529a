package quota_test

import (
	"fmt"
	"time"

	"github.com/oatmill/oatmill/quota"
)

func ExampleMeter() {
	plan := quota.Plan{Tokens: 3, Pulls: quota.Rate{Count: 2, Window: 6 * time.Hour}}
	var meter quota.Meter
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, after := range []time.Duration{0, time.Hour, 2 * time.Hour, 6 * time.Hour} {
		status, ok := meter.Take("acme", plan.Pulls, noon.Add(after))
		fmt.Println(ok, status.Remaining, status.Reset.Format(time.TimeOnly))
	}
	// Output:
	// true 1 18:00:00
	// true 0 18:00:00
	// false 0 18:00:00
	// true 1 00:00:00
}
