package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// kind is a class of failures.
type kind uint8

const (
	unknownDSN   kind = iota // the DSN is not known yet
	invalidDSN               // the DSN is invalid
	unreachable              // connecting failed, or the connection broke
	timeout                  // no answer in time
	denied                   // the server refuses the login
	forbidden                // the user lacks a privilege
	noDatabase               // the database does not exist
	busy                     // the server starts, stops or has no free connection
	full                     // the server's disk is full
	readOnly                 // the server is a standby
	outdated                 // the tables have another version
	rejected                 // the values can never be stored
	otherFailure             // anything else

	numKinds = iota
)

// Denied is the Result of a Status when the server refuses the login.
const Denied = "denied"

// kinds has, for each kind, its word, its cure, whether only an operator can cure it, and the error
// of package history.
var kinds = [numKinds]struct {
	word, cure    string
	needsOperator bool
	err           error
}{
	unknownDSN: {
		"waiting", "see whether the store that holds the database's DSN answers",
		false, history.ErrUnavailable,
	},
	invalidDSN: {"dsn", "correct the DSN", true, history.ErrUnavailable},
	unreachable: {
		"unreachable",
		"see that the server runs and can be reached from here, and whether only one side expects TLS (sslmode)",
		false, history.ErrUnavailable,
	},
	timeout: {
		"timeout", "look at the network, at the load of the server and at its locks (pg_stat_activity)",
		false, history.ErrUnavailable,
	},
	denied: {
		Denied, "check the user and the password of the DSN, and pg_hba.conf of the server",
		true, history.ErrUnavailable,
	},
	forbidden: {
		"forbidden",
		"the user must own the tables, since it makes and drops the parts of days: GRANT <their owner> TO <user>; " +
			"where there are none: GRANT CREATE ON DATABASE <database> TO <user>",
		true, history.ErrUnavailable,
	},
	noDatabase: {"no_database", "CREATE DATABASE, or name another in the DSN", true, history.ErrUnavailable},
	busy: {
		"busy",
		"wait until it has started; else raise max_connections of the server, or the limit of the user or database",
		false, history.ErrUnavailable,
	},
	full: {"full", "make room on the server's disk", true, history.ErrUnavailable},
	readOnly: {
		"read_only", "name the primary, or several servers with target_session_attrs=read-write",
		true, history.ErrUnavailable,
	},
	outdated:     {"schema", "run `caddy ip-reputation migrate up`", true, history.ErrSchema},
	rejected:     {"rejected", "this is a bug: report it, with the SQLSTATE", true, history.ErrRejected},
	otherFailure: {"error", "look at the log of the server", false, nil},
}

// failure is an error without secrets: no password, and no text of a visitor.
type failure struct {
	kind kind
	text string
	cure string // empty: that of the kind
	code string // SQLSTATE, if the server answered

	writing bool // a write was refused: only a write can find out that it is over
	tooSlow bool // the database has stopped a statement that took too long
}

// Error returns the failure as a sentence.
func (f *failure) Error() string {
	err := kinds[f.kind].err
	if err == nil {
		err = history.ErrUnavailable // only for its words
	}
	return foreign.Text(err.Error() + ": " + f.text)
}

// Unwrap returns the error of package history. The error of the library is not in the chain, since
// it contains the configuration.
func (f *failure) Unwrap() error { return kinds[f.kind].err }

// refusesWrites reports whether the database answers but refuses writes.
func (f *failure) refusesWrites() bool {
	return f != nil && (f.kind == full || f.kind == readOnly || f.kind == forbidden)
}

func (f *failure) cureOrDefault() string {
	if f.cure != "" {
		return f.cure
	}
	return kinds[f.kind].cure
}

// Cure returns what an operator can do about an error of this package; "" if unknown.
func Cure(err error) string {
	var f *failure
	if errors.As(err, &f) {
		return f.cureOrDefault()
	}
	return ""
}

// WithCure appends the cure of an error of this package.
func WithCure(err error) error {
	if cure := Cure(err); cure != "" {
		return fmt.Errorf("%w: %s", err, cure)
	}
	return err
}

// codes maps SQLSTATEs to kinds. Two characters stand for a class.
var codes = map[string]kind{
	"08": unreachable, "22": rejected, "23": rejected, "28": denied, "42": outdated,
	"53": busy, "54": rejected, "57": busy,
	"25006": readOnly,   // read_only_sql_transaction
	"3D000": noDatabase, // invalid_catalog_name
	"3F000": outdated,   // invalid_schema_name
	"42501": forbidden,  // insufficient_privilege
	"53100": full,       // disk_full
	"55P03": timeout,    // lock_not_available
	"57014": timeout,    // query_canceled, which statement_timeout does
}

// noPartition reports whether a row fits no partition.
func (f *failure) noPartition() bool {
	return f != nil && f.kind == otherFailure && f.code == checkViolation
}

const (
	checkViolation = "23514" // without the name of a constraint, it means that a row fits no partition
	queryCanceled  = "57014"
)

// classify returns err as a failure. No other code distinguishes errors.
func classify(err error) *failure {
	var known *failure
	var server *pgconn.PgError
	var network net.Error
	var tooLong *pgproto3.ExceededMaxBodyLenErr
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.As(err, &tooLong):
		return &failure{
			kind: unreachable,
			text: fmt.Sprintf("it announces a message of %d bytes: it may not be PostgreSQL", tooLong.ActualBodyLen),
			cure: "compare the host and the port of the DSN with those of the server",
		}
	case errors.As(err, &server):
		return classifyServer(server)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout(), pgconn.Timeout(err):
		return &failure{kind: timeout, text: "no answer in time"}
	}
	return &failure{kind: unreachable, text: oneLine(err.Error())}
}

func classifyServer(server *pgconn.PgError) *failure {
	k, ok := codes[server.Code]
	if !ok && len(server.Code) == 5 {
		k, ok = codes[server.Code[:2]]
	}
	if !ok {
		k = otherFailure
	}
	if server.Routine == "CopyGetData" { // the library could not encode a value, and so has ended COPY
		k = rejected
	}
	f := &failure{
		kind: k, code: server.Code, tooSlow: k == timeout && server.Code == queryCanceled,
		text: fmt.Sprintf("%s (SQLSTATE %s)", oneLine(server.Message), foreign.Line(server.Code, 5)),
	}
	switch {
	case server.Code == checkViolation && server.ConstraintName == "":
		f.kind = otherFailure
	case k == rejected: // the server's message may contain the value
		f.text = fmt.Sprintf("a value that it does not take (SQLSTATE %s)", foreign.Line(server.Code, 5))
	case k == timeout:
		f.text = fmt.Sprintf("it took too long, or others held what it needs (SQLSTATE %s)", server.Code)
	}
	return f
}

// oneLine joins the library's lines about several attempts to connect. It is not cut before redact has seen it.
func oneLine(text string) string {
	text = strings.ReplaceAll(strings.TrimSpace(text), ":\n\t", ": ")
	text = strings.ReplaceAll(text, "\n\t", "; ")
	return foreign.Line(text, len(text))
}

// redact returns the failure without the password in its text. No text is known to contain one;
// this is a precaution. A password that is also one of the names cannot be removed.
func (f *failure) redact(password string, names ...string) *failure {
	const shortest = 4
	if f == nil || len(password) < shortest || !strings.Contains(f.text, password) {
		return f
	}
	for _, name := range names {
		if strings.Contains(name, password) {
			return f
		}
	}
	clean := *f
	clean.text = strings.ReplaceAll(f.text, password, "…")
	return &clean
}
