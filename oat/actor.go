package oat

// Actor is who gives a command. It is a parameter of every command and is recorded
// in every event. Exactly one of User and Host is set; the zero Actor may do nothing.
//
// A token is never an actor: tokens do not manage tokens.
type Actor struct {
	// User is a person, by the name or id the host knows them under, at most 254
	// characters; see [CleanText]. A user may do what owners of the organization may do,
	// if they are one.
	User string
	// Host names a part of the host itself, like "billing" or "secret-scanning".
	// It may do everything. Never derive it from a request.
	Host string
	// Correlation groups everything one request led to. Optional, at most 254
	// characters.
	Correlation string
	// Reason is why, for the record. Optional, at most 256 characters.
	Reason string
}

// hostPrefix marks the host in the record. No user's name may begin with it.
const hostPrefix = "host:"

// String is the actor as it is recorded: the user's name, or "host:" and the part
// of the host.
func (a Actor) String() string {
	if a.Host != "" {
		return hostPrefix + a.Host
	}
	return a.User
}

// clean returns the actor as it is compared and recorded. The correlation stays as it is:
// a program made it.
func (a Actor) clean() Actor {
	a.User, a.Host, a.Reason = CleanText(a.User), CleanText(a.Host), CleanText(a.Reason)
	return a
}

// problems returns what is wrong with a cleaned actor.
func (a Actor) problems() (found ValidationErrors) {
	switch {
	case (a.User == "") == (a.Host == ""):
		found.add("actor", "name either a user or a part of the host")
	case a.User != "":
		found.add("actor", UserProblem(a.User))
	default:
		found.add("actor", nameProblem(a.Host, 1, maxUser))
	}
	found.add("correlation", nameProblem(a.Correlation, 0, maxUser))
	found.add("reason", textProblem(a.Reason, 0, maxReason))
	return found
}
