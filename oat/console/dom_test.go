package console_test

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// node is an element of a page.
type node struct {
	name   string
	attrs  map[string]string
	parent *node
	nodes  []*node
	text   string // of a text, which is an element without a name
}

// parse reads a page, and fails the test where it is not well-formed: every element is
// closed where it was opened, no attribute is given twice.
func parse(t testing.TB, page string) *node {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict = false // attributes without values
	root := &node{}
	at := root
	for {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		switch token := token.(type) {
		case xml.StartElement:
			child := &node{name: token.Name.Local, attrs: make(map[string]string), parent: at}
			for _, a := range token.Attr {
				if _, twice := child.attrs[a.Name.Local]; twice {
					t.Errorf("<%s> has %s twice", child.name, a.Name.Local)
				}
				child.attrs[a.Name.Local] = a.Value
			}
			at.nodes = append(at.nodes, child)
			if !slices.Contains([]string{"meta", "link", "img", "input", "br", "hr"}, child.name) {
				at = child
			}
		case xml.EndElement:
			if at.name != token.Name.Local {
				t.Fatalf("</%s> closes <%s>", token.Name.Local, at.name)
			}
			at = at.parent
		case xml.CharData:
			at.nodes = append(at.nodes, &node{text: string(token), parent: at})
		}
	}
	if at != root {
		t.Fatalf("<%s> is not closed", at.name)
	}
	return root
}

// all is every element below n that is as wanted, in the order of the page.
func (n *node) all(wanted func(*node) bool) (found []*node) {
	for _, child := range n.nodes {
		if wanted(child) {
			found = append(found, child)
		}
		found = append(found, child.all(wanted)...)
	}
	return found
}

func (n *node) named(names ...string) []*node {
	return n.all(func(n *node) bool { return slices.Contains(names, n.name) })
}

// id is the element with an id, nil when there is none.
func (n *node) id(id string) *node {
	for _, found := range n.all(func(n *node) bool { return n.attrs["id"] == id }) {
		return found
	}
	return nil
}

// content is all text below n.
func (n *node) content() string {
	text := n.text
	for _, child := range n.nodes {
		if child.name != "" {
			text += " " + child.content() + " "
		} else {
			text += child.text
		}
	}
	return text
}

// words is all text below n, with single spaces.
func (n *node) words() string { return strings.Join(strings.Fields(n.content()), " ") }

func (n *node) has(attr string) bool { _, ok := n.attrs[attr]; return ok }

// page is the answer as elements.
func (a answer) page() *node {
	a.t.Helper()
	return parse(a.t, a.Body.String())
}

// value is what a field of the page holds.
func (n *node) value(t testing.TB, name string) string {
	t.Helper()
	for _, field := range n.named("input", "select", "textarea") {
		if field.attrs["name"] != name || field.attrs["type"] == "radio" && !field.has("checked") {
			continue
		}
		switch field.name {
		case "textarea":
			return strings.TrimPrefix(field.content(), "\n")
		case "select":
			for _, option := range field.named("option") {
				if option.has("selected") {
					return option.attrs["value"]
				}
			}
			return field.named("option")[0].attrs["value"]
		}
		return field.attrs["value"]
	}
	t.Fatalf("the page has no field %q", name)
	return ""
}

// form is what a browser would send of the page's form, without a button.
func (n *node) form() map[string][]string {
	values := make(map[string][]string)
	form := n.id("form")
	for _, field := range form.named("input", "select", "textarea") {
		kind := field.attrs["type"]
		switch {
		case field.attrs["name"] == "" || kind == "radio" && !field.has("checked"):
		case field.name == "input":
			values[field.attrs["name"]] = append(values[field.attrs["name"]], field.attrs["value"])
		case field.name == "textarea":
			values[field.attrs["name"]] = append(values[field.attrs["name"]], strings.TrimPrefix(field.content(), "\n"))
		default:
			value := ""
			for i, option := range field.named("option") {
				if i == 0 || option.has("selected") {
					value = option.attrs["value"]
				}
			}
			values[field.attrs["name"]] = append(values[field.attrs["name"]], value)
		}
	}
	return values
}
