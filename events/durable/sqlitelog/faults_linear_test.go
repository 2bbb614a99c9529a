package sqlitelog_test

import (
	"testing"

	"github.com/oatmill/oatmill/events/durable/internal/linear"
	"github.com/oatmill/oatmill/events/durable/sqlitelog"
)

// TestLinearizable takes a history of 16 clients on two handles of one file.
//
// What breaks it: a refresh that trusts what the writer knew before the other handle
// committed, or answering a conflict with another version than the stream's.
func TestLinearizable(t *testing.T) {
	path := newPath(t)
	linear.Check(t, linear.Config{}, openFor(t, path, sqlitelog.Config{}), openFor(t, path, sqlitelog.Config{}))
}
