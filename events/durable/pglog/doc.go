// Package pglog is the durable log in PostgreSQL.
package pglog
