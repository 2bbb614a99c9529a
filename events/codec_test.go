package events_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events"
)

func sample() events.Payload {
	return &events.TokenGenerated{Token: "0190b1c2-7d3e-4f5a-8b9c-0d1e2f3a4b5c", Label: "ci", Digest: events.Hash{1, 2}, ExpiresAt: "2027-01-31T00:00:00Z",
		Resources: []events.Resource{{Type: "TYPE_REPO", Path: "acme/api", Scopes: []string{"scope-image-pull"}}}}
}
func BenchmarkDecode(b *testing.B) {
	t := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	for name, p := range map[string]events.Payload{"generated": sample(),
		"usage": &events.UsageRecorded{Uses: []events.Use{{Token: "0190b1c2-7d3e-4f5a-8b9c-0d1e2f3a4b5c", Accepted: &events.UseSpan{First: t, Last: t, Count: 12, Address: "10.0.0.1", UserAgent: "docker/28.2.2"}}}}} {
		typ, data, _ := events.Encode(p)
		b.Run(name+"/cursor", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := events.Decode(typ, data); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/json", func(b *testing.B) {
			for b.Loop() {
				var x events.TokenGenerated
				json.Unmarshal(data, &x)
			}
		})
	}
}
