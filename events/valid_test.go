package events

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// Data is valid exactly if encoding/json and unicode/utf8 say so.
//
// Taking a comma behind the last element makes this fail, and so does taking a number that
// begins with 0, or a string that is not UTF-8.
func FuzzIsObject(f *testing.F) {
	for _, name := range types(f) {
		for _, line := range lines(f, name) {
			f.Add([]byte(strings.TrimSuffix(line, "\n")))
		}
	}
	for _, seed := range append(seeds(), `{"a":[1,0,-1,1.5,1e3,true,false,null,"",{},[]]}`, `{"a":01}`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{"a":[1,]}`,
		`{"a":[,]}`, `{"a":tru}`, `{"a":nulll}`, `{"a":1 }`, `{"a":"\n"}`, `{a:1}`, `{"a":1}}`, `{"a":[}]`, `{`, `{"a":{`, "{\"a\":\"\xff\"}", "{\"\xff\":1}",
		strings.Repeat(`{"a":`, 40)+"1"+strings.Repeat("}", 40), strings.Repeat(`{"a":`, 10001)+"1"+strings.Repeat("}", 10001)) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want := len(data) > 0 && data[0] == '{' && json.Valid(data) && utf8.Valid(data)
		if got := isObject(data); got != want {
			t.Errorf("isObject(%q) is %v", data, got)
		}
	})
}

// What Encode writes is recognized without encoding/json, as far as its texts are plain.
//
// Taking no list makes this fail, and no zero; nothing but speed would be lost otherwise.
func TestObjectsAreRecognized(t *testing.T) {
	for _, p := range drawn("alice", "acme/api", nil, 63) {
		_, data, err := Encode(p)
		if c := (cursor{data: data}); err != nil || !c.value(maxDepth) || c.i != len(data) {
			t.Errorf("%s is not recognized, %v", data, err)
		}
	}
	if c := (cursor{data: []byte(`{"a":[0,true,false,null,[]]}`)}); !c.value(maxDepth) {
		t.Error("literals are not recognized")
	}
}

// BenchmarkIsObject measures isObject after its baseline, encoding/json and unicode/utf8
// looking at the same bytes, and reports how many times as long the baseline took.
func BenchmarkIsObject(b *testing.B) {
	data := []byte(lines(b, TypeTokenGenerated)[0])
	data = data[:len(data)-1]
	var baseline float64
	b.Run("baseline", func(b *testing.B) {
		for b.Loop() {
			if !json.Valid(data) || !utf8.Valid(data) {
				b.Fatal("not valid")
			}
		}
		baseline = float64(b.Elapsed().Nanoseconds()) / float64(b.N)
	})
	b.Run("isObject", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !isObject(data) {
				b.Fatal("not an object")
			}
		}
		b.ReportMetric(baseline*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "x-baseline")
	})
}
