package invariants

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
)

// ears collect everything that is said where others may hear it.
type ears struct {
	open bool
	mu   sync.Mutex
	said bytes.Buffer
}

// Write takes what loggers write.
func (e *ears) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.said.Write(p)
}

// logger is one that is heard, to the least detail.
func (e *ears) logger() *slog.Logger {
	if !e.open {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewJSONHandler(e, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// verbs are all that fmt knows, and some flags.
func verbs() string {
	return "%v|%+v|%#v|%T|%t|%s|%q|%+q|%#q|%x|%X|% x|%#x|%d|%c|%U|%b|%o|%O|%e|%E|%f|%g|%G|%p|%8.3s|%-99v"
}

// hear takes values as everything writes them that writes values.
func (e *ears) hear(values ...any) {
	if !e.open {
		return
	}
	for _, value := range values {
		e.hearIn(value, "%v|%+v|%#v|%q|%x")
	}
}

// hearClosely takes a value in every way there is, also from inside of others.
func (e *ears) hearClosely(value any) {
	if !e.open {
		return
	}
	for _, wrapped := range []any{value, &value, []any{value}, map[string]any{"v": value}, struct{ hidden any }{value}} {
		e.hearIn(wrapped, verbs())
	}
}

func (e *ears) hearIn(value any, verbs string) {
	for verb := range strings.SplitSeq(verbs, "|") {
		fmt.Fprintf(e, verb+"\n", value)
	}
	for _, encode := range []func(any) ([]byte, error){json.Marshal, xml.Marshal} {
		data, err := encode(value)
		fmt.Fprintf(e, "%s %v\n", data, err)
	}
	slog.New(slog.NewJSONHandler(e, nil)).Info("heard", "value", value)
	slog.New(slog.NewTextHandler(e, nil)).Info("heard", "value", value)
}

// note takes a text as it is.
func (e *ears) note(text string) {
	if e.open {
		fmt.Fprintln(e, text)
	}
}

// noteRecord takes every part of a record.
func (e *ears) noteRecord(r events.Recorded) {
	e.note(fmt.Sprintf("%s %s %s %s %s %s %s", r.Stream, r.Type, r.Actor, r.Correlation, r.Reason, r.ID, r.Data))
}

// overheard is a part of a secret that was said, "" when there is none: eight
// characters in a row of its random part, plain or in a usual encoding.
func (e *ears) overheard(secrets []oat.Secret) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	said := [][]byte{e.said.Bytes(), bytes.ToLower(e.said.Bytes())}
	for _, s := range secrets {
		plain, lower := parts(s.Reveal())
		for i, all := range [][]string{plain, lower} {
			for _, part := range all {
				if at := bytes.Index(said[i], []byte(part)); at >= 0 {
					return fmt.Sprintf("%q in %q", part, said[i][max(0, at-200):min(len(said[i]), at+200)])
				}
			}
		}
	}
	return ""
}

// parts are the parts of a secret that nobody may hear: those to be looked for as they
// are, and those to be looked for in lower case.
func parts(secret string) (plain, lower []string) {
	const length = 8
	random := secret[len(secret)-26-6:]
	for i := 0; i+length <= len(random); i++ {
		part := []byte(random[i : i+length])
		numbers := strings.Trim(fmt.Sprint(part), "[]")
		// Six bytes are eight characters of base64, wherever in a text they stand.
		plain = append(plain, string(part), numbers, strings.ReplaceAll(numbers, " ", ","), base64.StdEncoding.EncodeToString(part[:6]))
		lower = append(lower, hex.EncodeToString(part), fmt.Sprintf("% x", part))
	}
	return plain, lower
}
