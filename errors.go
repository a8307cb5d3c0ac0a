package vaultmesh

import (
	"errors"
	"fmt"
	"strings"
)

// Kind classifies an [Error]; a face maps it to its own code (HTTP status, MQTT reason, exit status).
type Kind uint8

// The closed set of kinds.
const (
	Internal    Kind = iota // a bug or a broken invariant of this node
	Invalid                 // the input is malformed or outside its documented range
	NotFound                // no such twin, command, receipt, model
	Denied                  // the gate, an ACL or a signature said no
	Conflict                // already exists, or not possible in the present state
	Stale                   // based on data or a version that is too old
	Expired                 // its time has passed
	TooLarge                // beyond a size, depth or count limit
	RateLimited             // a quota is used up; retry later
	Unavailable             // cannot serve now (starting, halted, disk full, overloaded); retry later
	Corrupt                 // stored or received data fails its checksum, signature or proof
)

var kindNames = [...]string{"internal", "invalid", "not_found", "denied", "conflict", "stale", "expired", "too_large", "rate_limited", "unavailable", "corrupt"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Retryable reports whether the same request may succeed later without a change.
func (k Kind) Retryable() bool { return k == RateLimited || k == Unavailable }

// Error says what was attempted, on what, why it failed, and what to do about it. Its text never holds a
// secret, a token or a payload.
type Error struct {
	Kind    Kind
	Op      string // what was attempted, in the words of the caller: "twin", "command.approve", "journal.open"
	Subject string // on what: a twin, a file, a field; may be empty
	Detail  string // what was wrong
	Fix     string // what to do; may be empty
	Err     error  // the cause; may be nil
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Subject != "" {
		b.WriteString(" " + e.Subject)
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Fix != "" {
		b.WriteString(" (" + e.Fix + ")")
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an [Error]; format and args become its Detail.
func Errorf(kind Kind, op, subject, format string, args ...any) *Error {
	return &Error{Kind: kind, Op: op, Subject: subject, Detail: fmt.Sprintf(format, args...)}
}

// Wrap adds the operation and the subject to err and keeps its kind. A nil err gives nil.
func Wrap(err error, op, subject string) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: KindOf(err), Op: op, Subject: subject, Err: err}
}

// WithFix says what to do about e and returns e.
func (e *Error) WithFix(format string, args ...any) *Error {
	e.Fix = fmt.Sprintf(format, args...)
	return e
}

// Because records the cause of e and returns e.
func (e *Error) Because(err error) *Error {
	e.Err = err
	return e
}

// KindOf returns the kind of the outermost [Error] in err's chain, and Internal where there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}
