package hubapi_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// everSeen is every answer that any contract was asked about, as "GET /v2/… 200".
var everSeen sync.Map

// TestMain demands, where all tests ran, that every answer of the description was given
// at least once: what is documented and never happens is wrong, too.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	given := func(name string) bool { return flag.Lookup(name).Value.String() != "" }
	if code == 0 && !given("test.run") && !given("test.skip") && !given("test.fuzz") && !given("test.list") {
		c, err := readContract()
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		code = demandAll(c.documented())
	}
	os.Exit(code)
}

// documented is every answer of the description. Those that every operation can have are
// demanded of any of them.
func (c *contract) documented() map[string]bool {
	all := make(map[string]bool)
	for path, item := range c.document["paths"].(map[string]any) {
		for method, operation := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			for status := range operation.(map[string]any)["responses"].(map[string]any) {
				if status == "429" || status == "500" || status == "503" {
					all[status] = true
				} else if method != "options" {
					all[strings.ToUpper(method)+" "+path+" "+status] = true
				}
			}
		}
	}
	return all
}

func demandAll(documented map[string]bool) (code int) {
	everSeen.Range(func(seen, _ any) bool {
		delete(documented, seen.(string))
		delete(documented, seen.(string)[strings.LastIndex(seen.(string), " ")+1:])
		return true
	})
	for _, answer := range slices.Sorted(maps.Keys(documented)) {
		fmt.Println("no test has seen", answer)
		code = 1
	}
	return code
}
