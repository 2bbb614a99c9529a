package oat

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// What a command is refused with, beside [quota.ErrExceeded]. A refused command
// left no trace in the log. All are matched with [errors.Is].
var (
	// ErrInvalid means that fields of the command are not as they must be. It comes
	// as [ValidationErrors], which names all of them.
	ErrInvalid = errors.New("invalid command")

	// ErrNotOwner means that the actor is not an owner of the organization.
	ErrNotOwner = errors.New("not an owner of the organization")

	// ErrNotFound is the parent of every "there is no such thing".
	ErrNotFound = errors.New("not found")

	// ErrOrganizationNotFound means that no organization of that name is registered.
	ErrOrganizationNotFound = fmt.Errorf("organization %w", ErrNotFound)

	// ErrTokenNotFound means that the organization has no such token: there never
	// was one, it was deleted, or it is another organization's.
	ErrTokenNotFound = fmt.Errorf("token %w", ErrNotFound)

	// ErrOwnerNotFound means that someone to be removed is no owner.
	ErrOwnerNotFound = fmt.Errorf("owner %w", ErrNotFound)

	// ErrExists means that an organization of that name is registered already.
	ErrExists = errors.New("organization exists")

	// ErrLastOwner means that the only owner cannot be removed.
	ErrLastOwner = errors.New("the last owner cannot be removed")

	// ErrHostOwners means that the host keeps the owners itself (Config.Owners),
	// so that they cannot be added or removed here.
	ErrHostOwners = errors.New("owners are kept by the host")

	// ErrUnknownPlan means that no plan of that name is known.
	ErrUnknownPlan = errors.New("unknown plan")

	// ErrNoTokens means that the organization's plan has no tokens.
	ErrNoTokens = errors.New("plan has no organization access tokens")

	// ErrInactive means that the token was deactivated and can only be deleted.
	ErrInactive = errors.New("token is inactive and can only be deleted")

	// ErrExpired means that the token has expired and can only be deleted.
	ErrExpired = errors.New("token has expired and can only be deleted")

	// ErrActive means that the token must be deactivated before it is deleted
	// (Config.RequireInactiveToDelete).
	ErrActive = errors.New("token is active and must be deactivated before it is deleted")

	// ErrChanged means that the token was changed after the version that a command was
	// given for.
	ErrChanged = errors.New("token was changed meanwhile")

	// ErrRepeated means that a token came of the same request before. It comes as a
	// [*RepeatedError].
	ErrRepeated = errors.New("token was generated already")

	// ErrBusy means that other writers kept changing the organization while the
	// command was decided. The command may be given again.
	ErrBusy = errors.New("organization is being changed by others")
)

// What a verification is refused with.
var (
	// ErrRefused is the one answer to credentials that do not open, whatever the
	// cause. Show it as it is.
	ErrRefused = errors.New("incorrect username or password")

	// ErrStale means that the verifier cannot be sure to know every revocation,
	// and therefore refuses everyone. It says nothing about the credentials.
	ErrStale = fmt.Errorf("%w: verifier is not up to date", ErrRefused)

	// ErrUnsupportedService means that the attempt named a service that
	// organization access tokens are not for. It says nothing about the
	// credentials.
	ErrUnsupportedService = fmt.Errorf("%w: organization access tokens cannot be used with this service; use a personal access token", ErrRefused)
)

// ValidationError is one problem of one field.
type ValidationError struct {
	Field   string `json:"field"`   // as in the recorded event: "label", "resources[2].path"
	Problem string `json:"problem"` // in words for a person
}

func (e *ValidationError) Error() string { return e.Field + ": " + e.Problem }

// Is matches [ErrInvalid].
func (e *ValidationError) Is(target error) bool { return target == ErrInvalid }

// ValidationErrors is every problem of a command, in the order of its fields.
type ValidationErrors []*ValidationError

func (e ValidationErrors) Error() string {
	problems := make([]string, len(e))
	for i, problem := range e {
		problems[i] = problem.Error()
	}
	return "invalid command: " + strings.Join(problems, "; ")
}

// Unwrap gives each problem to [errors.As] and [errors.Is].
func (e ValidationErrors) Unwrap() []error {
	all := make([]error, len(e))
	for i, problem := range e {
		all[i] = problem
	}
	return all
}

// Is matches [ErrInvalid].
func (e ValidationErrors) Is(target error) bool { return target == ErrInvalid }

// add notes a problem of a field; an empty problem is none.
func (e *ValidationErrors) add(field, problem string) {
	if problem != "" {
		*e = append(*e, &ValidationError{Field: field, Problem: problem})
	}
}

// orNil is the problems as an error, nil when there are none.
func (e ValidationErrors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// RepeatedError names the token that a repeated request made when it came first.
type RepeatedError struct {
	Token uuid.UUID
}

func (e *RepeatedError) Error() string { return fmt.Sprintf("%v: %s", ErrRepeated, e.Token) }

// Is matches [ErrRepeated].
func (e *RepeatedError) Is(target error) bool { return target == ErrRepeated }
