package hubapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/oatmill/oatmill/oat/hubapi"
)

// contract holds what the handler says against its own description: every status, header
// and body must be documented, and every body that was accepted must be, too.
type contract struct {
	document map[string]any
	compiler *jsonschema.Compiler

	mu      sync.Mutex
	schemas map[string]*jsonschema.Schema
}

// exchange is one request and its response.
type exchange struct {
	method, path string
	sent         []byte
	status       int
	header       http.Header
	body         []byte
}

const location = "https://example.com/openapi.json"

func newContract(t testing.TB) *contract {
	t.Helper()
	c, err := readContract()
	must(t, err)
	return c
}

func readContract() (*contract, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(hubapi.Description()))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	if err := compiler.AddResource(location, document); err != nil {
		return nil, err
	}
	return &contract{document: document.(map[string]any), compiler: compiler, schemas: make(map[string]*jsonschema.Schema)}, nil
}

// check says what about the exchange is not documented.
func (c *contract) check(x exchange) error {
	pointer, response, err := c.response(x)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.checkHeader(x, pointer, response); err != nil {
		return err
	}
	if err := c.checkBody(x, pointer, response); err != nil {
		return err
	}
	if x.status == http.StatusOK || x.status == http.StatusCreated {
		return c.checkRequest(x)
	}
	return nil
}

// response finds the description of the response, and where it stands.
func (c *contract) response(x exchange) (pointer string, found map[string]any, err error) {
	template, item := c.pathItem(x.path)
	method := strings.ToLower(x.method)
	if x.method == http.MethodHead {
		method = "get"
	}
	operation, _ := item[method].(map[string]any)
	shared := map[int]string{429: "TooMany", 500: "Internal"}
	switch {
	case item == nil:
		shared[404] = "PageNotFound"
	case operation == nil || strings.ToUpper(method) != x.method && x.method != http.MethodHead:
		shared[405] = "MethodNotAllowed"
		operation = nil
	}
	if operation != nil {
		pointer = "/paths/" + escape(template) + "/" + method + "/responses/" + strconv.Itoa(x.status)
	} else if name, ok := shared[x.status]; ok {
		pointer = "/components/responses/" + name
	}
	pointer, found = c.resolve(pointer)
	if found == nil {
		return "", nil, fmt.Errorf("%s %s: status %d is not documented", x.method, x.path, x.status)
	}
	everSeen.Store(x.method+" "+template+" "+strconv.Itoa(x.status), true)
	return pointer, found, nil
}

// pathItem is the description of the address, nil when it is not documented.
func (c *contract) pathItem(path string) (template string, item map[string]any) {
	paths := c.document["paths"].(map[string]any)
	if exact, ok := paths[path]; ok {
		return path, exact.(map[string]any)
	}
	given := strings.Split(path, "/")
	for template, item := range paths {
		match := func(a, b string) bool { return a == b || strings.HasPrefix(a, "{") && b != "" }
		if strings.Contains(template, "{") && slices.EqualFunc(strings.Split(template, "/"), given, match) {
			return template, item.(map[string]any)
		}
	}
	return "", nil
}

func escape(segment string) string {
	return strings.ReplaceAll(strings.ReplaceAll(segment, "~", "~0"), "/", "~1")
}

// resolve follows a pointer into the document, and the reference it finds there.
func (c *contract) resolve(pointer string) (string, map[string]any) {
	var at any = c.document
	for segment := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		object, _ := at.(map[string]any)
		at = object[strings.ReplaceAll(strings.ReplaceAll(segment, "~1", "/"), "~0", "~")]
	}
	object, _ := at.(map[string]any)
	if ref, ok := object["$ref"].(string); ok {
		return c.resolve(strings.TrimPrefix(ref, "#"))
	}
	return pointer, object
}

func (c *contract) checkHeader(x exchange, pointer string, response map[string]any) error {
	documented, _ := response["headers"].(map[string]any)
	for name := range x.header {
		known := slices.Contains([]string{"Content-Type", "Content-Length", "Date"}, name)
		for other := range documented {
			known = known || http.CanonicalHeaderKey(other) == name
		}
		if !known {
			return fmt.Errorf("%s %s: %d: header %s is not documented", x.method, x.path, x.status, name)
		}
	}
	for name := range documented {
		at, header := c.resolve(pointer + "/headers/" + name)
		values := x.header.Values(name)
		if len(values) == 0 && header["required"] != true {
			continue
		}
		if len(values) != 1 {
			return fmt.Errorf("%s %s: %d: header %s has values %q", x.method, x.path, x.status, name, values)
		}
		if err := c.validate(at+"/schema", values[0]); err != nil {
			return fmt.Errorf("%s %s: %d: header %s: %q: %w", x.method, x.path, x.status, name, values[0], err)
		}
	}
	return nil
}

func (c *contract) checkBody(x exchange, pointer string, response map[string]any) error {
	_, content := response["content"]
	kind := x.header.Get("Content-Type")
	if content != (kind == "application/json") {
		return fmt.Errorf("%s %s: %d: content type is %q", x.method, x.path, x.status, kind)
	}
	if !content || x.method == http.MethodHead {
		if len(x.body) > 0 {
			return fmt.Errorf("%s %s: %d: unexpected body %s", x.method, x.path, x.status, x.body)
		}
		return nil
	}
	return c.validateJSON(x, pointer+"/content/application~1json/schema", x.body)
}

func (c *contract) checkRequest(x exchange) error {
	template, _ := c.pathItem(x.path)
	at, body := c.resolve("/paths/" + escape(template) + "/" + strings.ToLower(x.method) + "/requestBody")
	if body == nil {
		return nil
	}
	return c.validateJSON(x, at+"/content/application~1json/schema", x.sent)
}

func (c *contract) validateJSON(x exchange, pointer string, text []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err == nil {
		err = c.validate(pointer, value)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %d: %s: %w", x.method, x.path, x.status, text, err)
	}
	return nil
}

func (c *contract) validate(pointer string, value any) error {
	schema := c.schemas[pointer]
	if schema == nil {
		var err error
		if schema, err = c.compiler.Compile(location + "#" + strings.NewReplacer("{", "%7B", "}", "%7D").Replace(pointer)); err != nil {
			return err
		}
		c.schemas[pointer] = schema
	}
	return schema.Validate(value)
}

// The contract would notice: each exchange here is a good one with one thing wrong.
func TestContractNotices(t *testing.T) {
	d := newDesk(t)
	good := d.exchange(d.request(http.MethodGet, "/v2/orgs/acme/access-tokens", "alice", nil))
	if err := d.contract.check(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*exchange){
		"status":               func(x *exchange) { x.status = http.StatusTeapot },
		"status of another":    func(x *exchange) { x.status = http.StatusCreated },
		"header":               func(x *exchange) { x.header.Set("X-Powered-By", "oats") },
		"missing header":       func(x *exchange) { x.header.Del("X-RateLimit-Reset") },
		"malformed header":     func(x *exchange) { x.header.Set("X-RateLimit-Reset", "soon") },
		"content type":         func(x *exchange) { x.header.Set("Content-Type", "text/html") },
		"no JSON":              func(x *exchange) { x.body = []byte("oops") },
		"missing field":        func(x *exchange) { x.body = bytes.Replace(x.body, []byte(`"total":0,`), nil, 1) },
		"another field":        func(x *exchange) { x.body = bytes.Replace(x.body, []byte(`"total"`), []byte(`"x":1,"total"`), 1) },
		"type of a field":      func(x *exchange) { x.body = bytes.Replace(x.body, []byte(`"total":0`), []byte(`"total":"0"`), 1) },
		"address":              func(x *exchange) { x.path = "/v2/orgs/acme" },
		"method":               func(x *exchange) { x.method = http.MethodPut },
		"a body to HEAD":       func(x *exchange) { x.method = http.MethodHead },
		"a token with nothing": func(x *exchange) { x.body = []byte(`{"total":1,"next":null,"previous":null,"results":[{}]}`) },
	} {
		bad := good
		bad.header = good.header.Clone()
		spoil(&bad)
		if err := d.contract.check(bad); err == nil {
			t.Errorf("%s: nobody noticed", name)
		}
	}
}

// The description is one of OpenAPI 3.1, every reference in it leads somewhere, and every
// schema is one.
func TestDescription(t *testing.T) {
	c := newContract(t)
	if c.document["openapi"] != "3.1.0" {
		t.Errorf("openapi: %v", c.document["openapi"])
	}
	var walk func(pointer string, at any)
	walk = func(pointer string, at any) {
		object, _ := at.(map[string]any)
		for name, inner := range object {
			if ref, ok := inner.(string); ok && name == "$ref" {
				if _, found := c.resolve(strings.TrimPrefix(ref, "#")); found == nil {
					t.Errorf("%s: %s leads nowhere", pointer, ref)
				}
			}
			if name == "schema" {
				if _, err := c.compiler.Compile(location + "#" + strings.NewReplacer("{", "%7B", "}", "%7D").Replace(pointer+"/schema")); err != nil {
					t.Errorf("%s: %v", pointer, err)
				}
			}
			walk(pointer+"/"+escape(name), inner)
		}
	}
	walk("", c.document)
	if !json.Valid(hubapi.Description()) {
		t.Error("the description is no JSON")
	}
}
