// Package console is the Admin Console.
package console
