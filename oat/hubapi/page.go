package hubapi

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// How many results a page can have, and how many pages there can be. Docker Hub answers a
// larger page size with its largest page, and so does this API.
const (
	MaxPageSize = 100
	MaxPage     = 1_000_000
)

// query is the parameters of an address, each given once.
type query map[string]string

// query reads the parameters that a request may have. Others are ignored: addresses
// collect them on their way.
func (c *call) query(known ...string) (query, error) {
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, malformed("parameters are malformed")
	}
	q, found := query{}, problems{}
	for name, given := range values {
		if !slices.Contains(known, name) {
			continue
		}
		if len(given) > 1 {
			found.add(name, "is given more than once")
		}
		q[name] = given[0]
	}
	if len(found) > 0 {
		return nil, refuseFields(found)
	}
	return q, nil
}

// page is which part of a list was asked for.
type page struct{ number, size int }

// page reads page and page_size.
func (q query) page(size int) (page, error) {
	found := problems{}
	p := page{q.number("page", 1, MaxPage, found), q.size(size, found)}
	if len(found) > 0 {
		return p, refuseFields(found)
	}
	return p, nil
}

// size reads page_size, and cuts it to the largest page.
func (q query) size(absent int, found problems) int {
	text, given := q["page_size"]
	if !given {
		return absent
	}
	if strings.Trim(text, "0123456789") != "" || strings.Trim(text, "0") == "" {
		found.add("page_size", "must be a number above 0")
		return absent
	}
	n, err := strconv.Atoi(text)
	if err != nil { // more digits than fit
		return MaxPageSize
	}
	return min(n, MaxPageSize)
}

// number reads a parameter that is a number from 1 to most.
func (q query) number(name string, absent, most int, found problems) int {
	text, given := q[name]
	if !given {
		return absent
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most || strings.HasPrefix(text, "+") {
		found.add(name, "must be a number from 1 to "+strconv.Itoa(most))
	}
	return n
}

// links are the addresses of the pages after and before this one, nil where there is
// none. Before a page beyond the end comes the last one.
func (p page) links(c *call, total int) (next, previous *string) {
	last := max(1, (total+p.size-1)/p.size)
	if p.number < last {
		next = p.link(c, p.number+1)
	}
	if p.number > 1 {
		previous = p.link(c, min(p.number-1, last))
	}
	return next, previous
}

func (p page) link(c *call, number int) *string {
	link := c.base() + c.path() + "?page=" + strconv.Itoa(number) + "&page_size=" + strconv.Itoa(p.size)
	return &link
}

// path is the address of the organization's tokens.
func (c *call) path() string { return "/v2/orgs/" + url.PathEscape(c.org) + "/access-tokens" }

// base is what stands before a path in a link.
func (c *call) base() string {
	if c.Handler.base != "" {
		return c.Handler.base
	}
	scheme := "http"
	if c.r.TLS != nil {
		scheme = "https"
	}
	// A Host that is none is the client's own doing, and is escaped.
	return (&url.URL{Scheme: scheme, Host: hostOf(c.r)}).String()
}

// hostOf is the host that the client says it called, as far as it can be one.
func hostOf(r *http.Request) string {
	odd := func(b rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]", b)
	}
	if r.Host == "" || strings.ContainsFunc(r.Host, odd) {
		return "localhost"
	}
	return r.Host
}
