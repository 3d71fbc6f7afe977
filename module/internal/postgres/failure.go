package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// kind is what is the matter with the database.
type kind uint8

const (
	waiting     kind = iota // it is not known yet where the database is
	unfit                   // the DSN makes no sense
	unreachable             // there is no connection, or it broke
	timeout                 // no answer in time
	denied                  // the login is refused
	forbidden               // the user may not do what is needed
	absent                  // there is no such database
	busy                    // it starts, stops or has no connection left
	full                    // there is no room left
	readOnly                // it is a standby
	outdated                // the tables are not those of this version
	rejected                // it can never take what it is given
	failed                  // anything else

	numKinds = iota
)

// Denied is the Result of a Status when the login is refused.
const Denied = "denied"

// kinds are the words for them, what an operator can do, whether he has to, and what package history calls them.
var kinds = [numKinds]struct {
	word, cure string
	acts       bool
	is         error
}{
	waiting:     {"waiting", "see whether the store that holds the database's DSN answers", false, history.ErrUnavailable},
	unfit:       {"dsn", "correct the DSN", true, history.ErrUnavailable},
	unreachable: {"unreachable", "see that the server runs and can be reached from here, and whether only one side expects TLS (sslmode)", false, history.ErrUnavailable},
	timeout:     {"timeout", "look at the network, at the load of the server and at its locks (pg_stat_activity)", false, history.ErrUnavailable},
	denied:      {Denied, "check the user and the password of the DSN, and pg_hba.conf of the server", true, history.ErrUnavailable},
	forbidden:   {"forbidden", "the user must own the tables, since it makes and drops the parts of days: GRANT <their owner> TO <user>; where there are none: GRANT CREATE ON DATABASE <database> TO <user>", true, history.ErrUnavailable},
	absent:      {"no_database", "CREATE DATABASE, or name another in the DSN", true, history.ErrUnavailable},
	busy:        {"busy", "wait until it has started; else raise max_connections of the server, or the limit of the user or database", false, history.ErrUnavailable},
	full:        {"full", "make room on the server's disk", true, history.ErrUnavailable},
	readOnly:    {"read_only", "name the primary, or several servers with target_session_attrs=read-write", true, history.ErrUnavailable},
	outdated:    {"schema", "run `caddy ip-reputation migrate up`", true, history.ErrSchema},
	rejected:    {"rejected", "this is a bug: report it, with the SQLSTATE", true, history.ErrRejected},
	failed:      {"error", "look at the log of the server", false, nil},
}

// failure is an error that holds nothing secret: no password, and nothing that came from a visitor.
type failure struct {
	kind kind
	text string
	cure string // empty: the kind's
	code string // SQLSTATE, where the server has answered

	writing bool // it was a write that was refused: a look at the database finds nothing wrong
}

// Error says what is the matter.
func (f *failure) Error() string {
	is := kinds[f.kind].is
	if is == nil {
		is = history.ErrUnavailable // whose words are right, although it may not be away
	}
	return is.Error() + ": " + f.text
}

// Unwrap returns what package history calls it. What the library said is not in the chain: it holds its configuration.
func (f *failure) Unwrap() error { return kinds[f.kind].is }

// refusesWrites reports whether the database is there, and takes nothing.
func (f *failure) refusesWrites() bool {
	return f != nil && (f.kind == full || f.kind == readOnly || f.kind == forbidden)
}

func (f *failure) remedy() string {
	if f.cure != "" {
		return f.cure
	}
	return kinds[f.kind].cure
}

// Cure returns what an operator can do about an error of this package, "" when nobody knows.
func Cure(err error) string {
	var f *failure
	if errors.As(err, &f) {
		return f.remedy()
	}
	return ""
}

// WithCure adds to an error of this package what an operator can do about it.
func WithCure(err error) error {
	if cure := Cure(err); cure != "" {
		return fmt.Errorf("%w: %s", err, cure)
	}
	return err
}

// codes are what SQLSTATEs mean. A class is two characters.
var codes = map[string]kind{
	"08": unreachable, "22": rejected, "23": rejected, "28": denied, "42": outdated, "53": busy, "57": busy,
	"25006": readOnly,  // read_only_sql_transaction
	"3D000": absent,    // invalid_catalog_name
	"3F000": outdated,  // invalid_schema_name
	"42501": forbidden, // insufficient_privilege
	"53100": full,      // disk_full
	"55P03": timeout,   // lock_not_available
	"57014": timeout,   // query_canceled, which statement_timeout does
}

const noPartition = "23514" // check_violation: of a row that fits no partition, and of nothing else here

// classify returns what is the matter when a call fails with err. It is the one place where failures are told apart.
func classify(err error) *failure {
	var known *failure
	var server *pgconn.PgError
	var network net.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
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
		k = failed
	}
	f := &failure{kind: k, code: server.Code, text: fmt.Sprintf("%s (SQLSTATE %s)", oneLine(server.Message), server.Code)}
	switch {
	case k == rejected: // its message may name the value
		f.text = fmt.Sprintf("a value that it does not take (SQLSTATE %s)", server.Code)
	case server.Code == noPartition:
		f.kind = failed
	case k == timeout:
		f.text = fmt.Sprintf("it took too long, or others held what it needs (SQLSTATE %s)", server.Code)
	}
	return f
}

// oneLine makes one line of what the library says of several attempts to connect.
func oneLine(text string) string {
	text = strings.ReplaceAll(strings.TrimSpace(text), ":\n\t", ": ")
	text = strings.ReplaceAll(text, "\n\t", "; ")
	return strings.Join(strings.Fields(text), " ")
}

// without returns the failure with its text freed of a password. No text is known to hold one; this is in case that one day
// one does. A password that is also a name cannot be left out.
func (f *failure) without(password string, names ...string) *failure {
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
